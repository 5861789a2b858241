package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/supervisor/config"
)

// ruleWriter writes the rule of an answer that holds for always.
type ruleWriter struct {
	to  string
	yes bool
}

func (w *ruleWriter) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.to, "to", "user", "with --always: write into the policy of the `LAYER` user or project")
	cmd.Flags().BoolVarP(&w.yes, "yes", "y", false, "with --always: write without asking")
	cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]string{"user", "project"}, cobra.ShellCompDirectiveNoFileComp))
}

// rule writes the rule of an answer into a policy file, when the difference was
// shown and sure says yes, and returns the file's name. What the file would be is
// loaded first with all the others.
func (w *ruleWriter) rule(out io.Writer, sure func(string) bool, q *waiting, allow, quiet bool) (string, error) {
	if w.to != "user" && w.to != "project" {
		return "", badFlag("to", w.to, "user or project")
	}
	if q.UID != os.Getuid() {
		return "", &hintedError{errors.New("the session is another user's, and so is the policy"), "answer with --session"}
	}
	host, err := thisHost()
	if err != nil {
		return "", err
	}
	lo := config.LoadOptions(&config.Options{}, host, q.Workdir)
	list := "deny"
	if allow {
		list = "allow"
	}
	target := &policyFile{lo: lo, path: lo.User}
	if w.to == "project" {
		target = &policyFile{lo: lo, path: lo.Project, project: true}
	}
	defer target.close()
	was, err := target.read()
	if err != nil {
		return "", err
	}
	now, err := policy.AddRule(was, list, q.rule(allow))
	if err != nil {
		return "", fmt.Errorf("write into %s: %w", text.Escape(target.path), err)
	}
	if bytes.Equal(was, now) {
		return target.path, nil
	}
	if err := target.check(now); err != nil {
		return "", err
	}
	if !quiet {
		io.WriteString(out, lineDiff(target.path, was, now)) //nolint:errcheck // shown, or not to be written
	}
	if !w.yes {
		if sure == nil {
			return "", &hintedError{errors.New("nobody has seen what is to be written"), "on a terminal you are asked; in a script add --yes"}
		}
		if !sure("write it?") {
			return "", &hintedError{errors.New("not written, and not answered"), "answer with --once, --session or --for"}
		}
	}
	return target.path, target.write(now)
}

// policyFile is the file that a rule goes into.
type policyFile struct {
	lo      policy.LoadOptions
	path    string
	project bool
	open    *os.File // the project's, which the pen may be able to change
}

// read returns the file, nil if there is none yet. A project's must be trusted as
// it is: nothing that a tool wrote into it gets approved on the way.
func (p *policyFile) read() ([]byte, error) {
	if p.project {
		return p.readProject()
	}
	if real, err := filepath.EvalSymlinks(p.path); err == nil {
		p.path = real
	}
	b, err := policy.ReadFile(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

func (p *policyFile) readProject() ([]byte, error) {
	if p.path == "" {
		return nil, &hintedError{errors.New("the project has no " + policy.ProjectFile), "write into your own policy, without --to, or make one with: version: 1"}
	}
	// Never through a link: what is read is what is written.
	f, err := os.OpenFile(p.path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("write into the project's policy: %w", err)
	}
	p.open = f
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("write into %s: it is no regular file", text.Escape(p.path))
	}
	b, err := io.ReadAll(io.LimitReader(f, policy.MaxFileSize+1))
	if err != nil {
		return nil, err
	}
	lo := p.lo
	lo.ProjectText = b
	now, err := policy.Load(lo)
	if err != nil {
		return nil, err
	}
	if u := now.Untrusted(); u != nil {
		return nil, &hintedError{fmt.Errorf("%s does not count as it is now", text.Escape(p.path)), "read it, then: penstock policy trust"}
	}
	return b, nil
}

// check loads the policy with what the file would be.
func (p *policyFile) check(now []byte) error {
	lo := p.lo
	if p.project {
		lo.ProjectText, lo.TrustProject = now, true
		_, err := policy.Load(lo)
		return err
	}
	dir, err := os.MkdirTemp("", "penstock-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	lo.User = filepath.Join(dir, filepath.Base(p.path))
	if err := os.WriteFile(lo.User, now, 0o600); err != nil {
		return err
	}
	_, err = policy.Load(lo)
	return err
}

// write replaces the file's content. A project's keeps its file, over which a pen
// may have a mount that protects it, and is trusted anew: exactly these bytes.
func (p *policyFile) write(now []byte) error {
	if p.project {
		if _, err := p.open.WriteAt(now, 0); err != nil {
			return err
		}
		if err := p.open.Truncate(int64(len(now))); err != nil {
			return err
		}
		return policy.Trust(p.lo.TrustStore, p.path, now)
	}
	dir, mode := filepath.Dir(p.path), fs.FileMode(0o600)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if fi, err := os.Stat(p.path); err == nil {
		mode = fi.Mode().Perm()
	}
	tmp, err := os.CreateTemp(dir, ".policy-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails after the rename, as it should
	_, err = tmp.Write(now)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), p.path)
	}
	return err
}

func (p *policyFile) close() {
	if p.open != nil {
		p.open.Close()
	}
}

// lineDiff shows what changes between two files, with a line of what is round it,
// escaped.
func lineDiff(name string, was, now []byte) string {
	split := func(b []byte) []string {
		if len(b) == 0 {
			return nil
		}
		return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	}
	a, b := split(was), split(now)
	from := 0
	for from < len(a) && from < len(b) && a[from] == b[from] {
		from++
	}
	end := 0
	for end < len(a)-from && end < len(b)-from && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s:\n", text.Escape(name))
	put := func(mark string, lines []string) {
		for _, l := range lines {
			out.WriteString(mark + text.Escape(l) + "\n")
		}
	}
	put("  ", a[max(0, from-2):from])
	put("- ", a[from:len(a)-end])
	put("+ ", b[from:len(b)-end])
	put("  ", a[len(a)-end:min(len(a), len(a)-end+1)])
	return out.String()
}
