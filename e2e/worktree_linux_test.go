package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// worktreeScript is an agent in a worktree: $1 is its own name, $2 the other's.
// It goes on when both have committed, and then looks for the other everywhere. It
// ends when both have looked: what is brought in at an end can be read as objects.
const worktreeScript = `
# Each pipe is used once: a line that nobody has read is lost with its last writer.
meet() { echo >"$PIPES/$1" & timeout 60 sh -c 'read -r _ <"$1"' sh "$PIPES/$2"; wait; }
curl -sS https://good.example.com/ >"by-$1"
git add . && git commit -qm "by $1"
mkdir -p .husky .github/workflows
echo hook >.husky/pre-commit; echo '{"scripts":{}}' >package.json; echo all: >Makefile; echo on: push >.github/workflows/ci.yml
meet "$1" "$2"
find / -xdev -name "by-$2" 2>/dev/null | sed 's/^/sees /'
find "$HOME" /run/penstock -name "by-$2" 2>/dev/null | sed 's/^/sees /'
git log --all --format=%s | grep "by $2" | sed 's/^/sees /'
git cat-file --batch-all-objects --batch-check='%(objecttype) %(objectname)' | while read -r kind id; do if test $kind = commit; then git log -1 --format=%s $id; fi; done | grep "by $2" | sed 's/^/sees /'
cat "$HOME/project/.git/config" 2>/dev/null | sed 's/^/sees /'
ls "$HOME/.local/state/penstock" 2>/dev/null | sed 's/^/sees /'
for f in .git /run/penstock/objects/x /run/penstock/objects/pack/x "$HOME/project/.git/x"; do if echo x >"$f"; then echo "writes $f"; fi 2>/dev/null; done
meet "$1-end" "$2-end"
echo done
`

// TestWorktrees: two agents at once on one repository, for each kind of user and
// with the privileged supervisor. Each commits what it fetched, and neither sees
// the other; what the host would execute is listed.
func TestWorktrees(t *testing.T) {
	world.Tool(t, "git")
	world.Tool(t, "curl")
	if world.Bare() {
		t.Skip("there is no worktree without a pen")
	}
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			p, evil := web(t)
			p.Opts, p.Home = o, p.W.NewHome(o)
			git := func(args ...string) string {
				t.Helper()
				r := p.W.Run(p.Home, o, append([]string{"git", "-c", "user.name=u", "-c", "user.email=e"}, args...)...)
				if r.Code != 0 {
					t.Fatalf("git %q: %s", args, r)
				}
				return strings.TrimSpace(r.Stdout)
			}
			p.Home.Write(t, ".gitconfig", "[user]\n\tname = u\n\temail = e\n[init]\n\tdefaultBranch = main\n")
			p.Home.Write(t, "project/README", "begin\n")
			git("init", "-q")
			git("add", ".")
			git("commit", "-qm", "begin")
			pipes := filepath.Join(p.Home.Path, "pipes")
			p.Home.Write(t, "pipes/none", "")
			for _, n := range []string{"one", "two", "one-end", "two-end"} {
				if err := syscall.Mkfifo(filepath.Join(pipes, n), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			p.Home.Own(t)
			p.Env["PIPES"] = pipes
			policy := p.WritePolicy()
			agent := func(own, other string) (wait func() (string, string, error)) {
				var stdout, stderr bytes.Buffer
				cmd := p.W.Command(p.Home, o, world.Penstock(t), "run", "--policy", policy, "--worktree="+own, "--write", pipes, "--read", p.Home.Path, "--", "sh", "-eu", "-c", worktreeScript, "sh", own, other)
				cmd.Stdout, cmd.Stderr = &stdout, &stderr
				if err := world.Start(cmd); err != nil {
					t.Fatal(err)
				}
				return func() (string, string, error) { err := cmd.Wait(); return stdout.String(), stderr.String(), err }
			}
			one, two := agent("one", "two"), agent("two", "one")
			for _, wait := range []func() (string, string, error){one, two} {
				out, errs, err := wait()
				if err != nil || out != "done\n" {
					t.Errorf("%v\n%s\n%s", err, out, errs)
				}
				for _, kind := range []string{"git hook", "package script", "build file", "CI "} {
					if !strings.Contains(errs, "penstock:   "+kind) {
						t.Errorf("no %s in\n%s", kind, errs)
					}
				}
				if o.Supervised != strings.Contains(errs, "supervised bwrap pen") {
					t.Errorf("another supervisor than asked for:\n%s", errs)
				}
			}
			for _, n := range []string{"one", "two"} {
				if s := git("show", "penstock/"+n+":by-"+n); !strings.HasSuffix(s, "hello from good.example.com") {
					t.Errorf("%s fetched %q", n, s)
				}
			}
			if s := git("status", "--porcelain"); s != "" {
				t.Errorf("the repository changed: %s", s)
			}
			for _, args := range [][]string{{"worktree", "merge", "one"}, {"worktree", "rm", "two"}, {"audit", "verify"}} {
				if r := p.W.Run(p.Home, o, append([]string{world.Penstock(t)}, args...)...); r.Code != 0 {
					t.Errorf("%q: %s", args, r)
				}
			}
			if _, err := os.Stat(filepath.Join(p.Home.Project, "by-one")); err != nil {
				t.Error(err)
			}
			if left, _ := filepath.Glob(p.Home.Path + "/.local/state/penstock/worktrees/[^.]*"); len(left) != 0 {
				t.Errorf("left: %q", left)
			}
			git("fsck", "--strict")
			if evil.Hits() != 0 {
				t.Error("something arrived that is not allowed")
			}
		})
	}
}
