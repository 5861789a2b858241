package worktree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock/penstock/internal/text"
)

// git runs the host's git in the user's repository.
type git struct {
	path string
	env  []string
}

// quiet turns off everything that makes git start another program or talk to
// somebody. What the user configured is not the tool's, but the tool's files
// would be its input.
func quiet() []string {
	var out []string
	for _, c := range []string{
		"core.hooksPath=/dev/null", "core.fsmonitor=false", "core.pager=cat", "core.editor=false", "core.askPass=false",
		"core.sshCommand=false", "credential.helper=", "protocol.allow=never", "gc.auto=0", "maintenance.auto=false",
		"submodule.recurse=false", "log.showSignature=false", "commit.gpgSign=false", "color.ui=false", "core.quotePath=true",
		"merge.verifySignatures=false", "merge.autoStash=false", "advice.detachedHead=false",
	} {
		out = append(out, "-c", c)
	}
	return out
}

// passed are the caller's variables that git keeps: where its configuration is,
// and who the user is. None of git's own.
func passed() []string {
	return []string{"PATH", "HOME", "XDG_CONFIG_HOME", "USER", "LOGNAME", "TMPDIR"}
}

// newGit finds git: the system's before one that PATH leads to, because a
// directory of PATH may be one that a tool can write.
func newGit(environ []string) (*git, error) {
	g := &git{env: []string{
		"LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_PAGER=cat", "GIT_EDITOR=false", "GIT_SEQUENCE_EDITOR=false", "GIT_ASKPASS=false",
		"GIT_NO_REPLACE_OBJECTS=1", "GIT_NO_LAZY_FETCH=1", "GIT_OPTIONAL_LOCKS=0", "GIT_ALLOW_PROTOCOL=none",
	}}
	var path string
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if slices.Contains(passed(), name) {
			g.env = append(g.env, e)
		}
		if name == "PATH" {
			path = value
		}
	}
	for _, dir := range append([]string{"/usr/bin", "/bin", "/usr/local/bin", "/run/current-system/sw/bin"}, filepath.SplitList(path)...) {
		p := filepath.Join(dir, "git")
		if fi, err := os.Stat(p); filepath.IsAbs(dir) && err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			g.path = p
			return g, nil
		}
	}
	return nil, refuse("install git (apt-get install git)", "use a worktree: there is no git here")
}

// gitError is git's own failure.
type gitError struct {
	verb   string // what was tried
	code   int    // exit code; -1: it did not exit
	stderr string
}

func (e *gitError) Error() string {
	msg := e.stderr
	if msg == "" {
		msg = fmt.Sprintf("exit %d", e.code)
	}
	return "git " + e.verb + ": " + msg
}

// exitCode is the exit code of git in err, or -1.
func exitCode(err error) int {
	var ge *gitError
	if errors.As(err, &ge) {
		return ge.code
	}
	return -1
}

// run executes git in dir and returns what it printed.
func (g *git) run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	return g.feed(ctx, dir, nil, args...)
}

// feed is run with something to read.
func (g *git) feed(ctx context.Context, dir string, stdin io.Reader, args ...string) ([]byte, error) {
	var out bytes.Buffer
	err := g.stream(ctx, dir, stdin, &out, args...)
	return out.Bytes(), err
}

func (g *git) stream(ctx context.Context, dir string, stdin io.Reader, stdout io.Writer, args ...string) error {
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, g.path, append(append([]string{"-C", dir}, quiet()...), args...)...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = g.env, stdin, stdout, &tail{w: &errs}
	if err := cmd.Run(); err != nil {
		verb := args[0]
		for i := 0; verb == "-c" && i+2 < len(args); i += 2 {
			verb = args[i+2]
		}
		return failed(verb, err, errs.String())
	}
	return nil
}

// line is run for what answers in one line.
func (g *git) line(ctx context.Context, dir string, args ...string) (string, error) {
	out, err := g.run(ctx, dir, args...)
	return strings.TrimSuffix(string(out), "\n"), err
}

func failed(verb string, err error, stderr string) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("git %s: %w", verb, err)
	}
	// Git quotes names that the tool chose.
	return &gitError{verb: verb, code: exit.ExitCode(), stderr: lastWords(stderr)}
}

// lastWords is the line of stderr that says why, escaped.
func lastWords(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for _, l := range lines {
		for _, p := range []string{"fatal: ", "error: "} {
			if rest, ok := strings.CutPrefix(l, p); ok {
				return text.Clip(rest, 300)
			}
		}
	}
	return text.Clip(lines[len(lines)-1], 300)
}

// tail keeps the first 16 KiB of an error output.
type tail struct{ w *bytes.Buffer }

func (t *tail) Write(b []byte) (int, error) {
	if room := 16<<10 - t.w.Len(); room > 0 {
		t.w.Write(b[:min(len(b), room)])
	}
	return len(b), nil
}
