package tiers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/world"
)

// copyScript is what a tool does to its work directory.
const copyScript = `
echo more >>edited; echo new >created; rm deleted; mv renamed moved; mv dir moved-dir; rm -r tree
chmod 751 mode; chmod 700 shut; echo x >shut/new; ln -s edited link; ln -s /etc/passwd away; ln -sfn mode turned
rm file-to-dir; mkdir file-to-dir; echo x >file-to-dir/in; mkdir -p a/b/c; printf '#!/bin/sh\n' >a/run; chmod 755 a/run
echo over >over.new; mv over.new over; : >"$(printf 'odd\nname')"
git add edited created; git commit -qm tool
`

// hostileScript is what a hostile one plants beside that. Some of it fails in some tiers.
const hostileScript = `
exec 2>/dev/null
ln -s /etc stolen; ln -s ../../secret out; mkfifo fifo; echo x >suid; chmod 4755 suid
echo 'touch ran' >.git/hooks/pre-commit; echo '[core]' >.git/config; mkdir .vscode; echo x >.vscode/tasks.json
mv .git/hooks .git/away; mv .git moved-git; rm -rf .husky; ln -s /etc .husky; echo x >.penstock.yaml
echo x >away-from/here; rm -rf dir; ln -s ../outside dir; echo x >dir/file
exit 0
`

// fillWork is the work directory before that.
func fillWork(t *testing.T, p *world.Pen, name string) string {
	t.Helper()
	for _, f := range []string{"edited", "deleted", "renamed", "mode", "file-to-dir", "over", "dir/file", "dir/sub/file", "tree/a", "tree/b/c", "shut/kept", ".husky/pre-commit"} {
		p.Home.Write(t, name+"/"+f, "content of "+f+"\n")
	}
	p.Home.Own(t)
	dir := filepath.Join(p.Home.Path, name)
	o := p.Opts
	o.Dir = dir
	if r := p.W.Run(p.Home, o, "sh", "-euc", "ln -s nowhere turned; chmod 755 shut; git init -q; git config user.name u; git config user.email e; git add .; git commit -qm begin"); r.Code != 0 {
		t.Fatal(r)
	}
	return dir
}

// onDisk is what a directory has; not of git's index and log, which have times.
func onDisk(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	for _, l := range strings.SplitAfter(tree(t, dir, time.Time{}), "\n") {
		if !strings.Contains(l, ".git/") {
			b.WriteString(l)
		}
	}
	return b.String()
}

// What a tool does to a copy of its work directory is, once it was brought, what it would
// have done to the directory itself; before that nothing of it is there, and of what a
// hostile one plants nothing ever is that its pen would not have let it.
func TestCopy(t *testing.T) {
	if world.Bare() {
		t.Skip("there is no copy without a pen")
	}
	world.Tool(t, "git")
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			w := world.New(t)
			testCopy(t, &world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o), Env: map[string]string{}})
		})
	}
}

// TestGvisorCopy: so it is where the command's kernel is a program.
func TestGvisorCopy(t *testing.T) { gvisorPens(t, testCopy) }

// TestMicrovmCopy: and in a machine of its own, of which one is started only: it takes
// long where there is no KVM.
func TestMicrovmCopy(t *testing.T) {
	if world.Bare() {
		t.Skip("no tier without a pen")
	}
	w := world.New(t)
	o := world.Options{User: os.Getuid() == 0}
	p := &world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o), Env: map[string]string{}}
	machine := world.Microvm(t, p.Home)
	direct, copied := fillWork(t, p, "direct/project"), fillWork(t, p, "copied/project")
	p.Opts.Dir = direct
	if r := p.Sh(copyScript); r.Code != 0 {
		t.Fatal(r)
	}
	p.Opts.Dir, p.Opts.Env, p.Flags = copied, machine, []string{"--sandbox", "microvm", "--copy", "--copy-end=bring"}
	if r := p.Sh(copyScript); r.Code != 0 || !strings.Contains(r.Stderr, " changes into ") {
		t.Fatal(r)
	}
	if got, want := onDisk(t, copied), onDisk(t, direct); got != want {
		t.Errorf("brought:\n%s\nwant as without a copy:\n%s", got, want)
	}
}

func testCopy(t *testing.T, p *world.Pen) {
	w, flags := p.W, p.Flags
	p.Home.Write(t, "outside/file", "precious\n")
	p.Home.Write(t, "secret", "of the host\n")
	direct, copied, hostile := fillWork(t, p, "direct/project"), fillWork(t, p, "copied/project"), fillWork(t, p, "hostile/project")
	run := func(dir, script string, more ...string) world.Result {
		t.Helper()
		p.Opts.Dir = dir
		p.Flags = append(append([]string{}, flags...), more...)
		r := p.Sh("umask 022\n" + script)
		if r.Code != 0 {
			t.Errorf("%s: %s", dir, r)
		}
		return r
	}
	before := onDisk(t, copied)
	run(direct, copyScript)
	want := onDisk(t, direct)
	if want == before {
		t.Fatal("the script changes nothing")
	}
	r := run(copied, copyScript, "--copy", "--copy-end=keep")
	if got := onDisk(t, copied); got != before {
		t.Errorf("before it is brought:\n%s\nwant\n%s", got, before)
	}
	if p.Opts.Supervised != strings.Contains(r.Stderr, "supervised ") {
		t.Errorf("another supervisor than asked for: %s", r)
	}
	for _, args := range [][]string{{"copy", "ls"}, {"copy", "bring"}} {
		if args[1] == "bring" {
			id, _, _ := strings.Cut(world.Lines(r.Stdout)[1], " ")
			args = append(args, id)
		}
		if r = w.Run(p.Home, p.Opts, append([]string{world.Penstock(t)}, args...)...); r.Code != 0 {
			t.Fatalf("%q: %s", args, r)
		}
	}
	if got := onDisk(t, copied); got != want {
		t.Errorf("brought:\n%s\nwant as without a copy:\n%s", got, want)
	}
	if r := w.Run(p.Home, p.Opts, "sh", "-euc", "git fsck --strict; git log --format=%s; git status --porcelain"); r.Code != 0 || !strings.Contains(r.Stdout, "tool\nbegin\n") {
		t.Errorf("its repository: %s", r)
	}

	run(hostile, hostileScript, "--copy", "--copy-end=bring")
	for name, want := range map[string]string{
		".husky/pre-commit": "content of .husky/pre-commit\n", "../../outside/file": "precious\n", "../../secret": "of the host\n",
	} {
		if got := world.ReadFile(t, filepath.Join(hostile, name)); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	if got := world.ReadFile(t, filepath.Join(hostile, ".git/config")); !strings.Contains(got, "[user]") {
		t.Errorf(".git/config is %q", got)
	}
	for _, name := range []string{".git/hooks/pre-commit", ".git/away", "moved-git", ".vscode", ".penstock.yaml", "fifo"} {
		if fi, err := os.Lstat(filepath.Join(hostile, name)); err == nil {
			t.Errorf("%s is there: %s", name, fi.Mode())
		}
	}
	err := filepath.Walk(hostile, func(name string, fi os.FileInfo, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(name, &st)
		}
		if err == nil && fi.Mode()&os.ModeSymlink == 0 && st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
			t.Errorf("%s has mode %o", name, st.Mode)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if to, err := os.Readlink(filepath.Join(hostile, "stolen")); err != nil || to != "/etc" {
		t.Errorf("a link leads to %q, %v", to, err)
	}
	start := false
	for _, rec := range p.Exported() {
		start = start || rec.Str("type") == "session_start" && strings.Contains(fmt.Sprint(rec["capabilities"]), "copy of the work directory, project-")
	}
	if !start {
		t.Error("no session's record says that it has a copy")
	}
	if r := w.Run(p.Home, p.Opts, world.Penstock(t), "audit", "verify"); r.Code != 0 {
		t.Errorf("audit verify: %s", r)
	}
}

// TestWASMCopy: a module's preopened directory is the copy.
func TestWASMCopy(t *testing.T) {
	if world.Bare() {
		t.Skip("no module runs without a pen")
	}
	code := module(t)
	w := world.New(t)
	o := world.Options{User: os.Getuid() == 0}
	p := &world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o), Env: map[string]string{}, Flags: []string{"--sandbox", "wasm", "--copy", "--copy-end=bring"}}
	p.Home.Write(t, "project/tool.wasm", string(code))
	p.Home.Write(t, "project/notes", "of the project")
	p.Home.Own(t)
	p.Opts.Dir = filepath.Join(p.Home.Path, "project")
	in := func(name string) string { return filepath.Join(p.Opts.Dir, name) }
	if r := p.Run("./tool.wasm", "put", in("notes"), "by the module"); r.Stdout != "ok\n" || !strings.Contains(r.Stderr, "brought 1 change into ") {
		t.Error(r)
	}
	p.Flags[3] = "--copy-end=discard"
	if r := p.Run("./tool.wasm", "put", in("notes"), "again"); r.Stdout != "ok\n" || !strings.Contains(r.Stderr, "discarded copy ") {
		t.Error(r)
	}
	if got := world.ReadFile(t, in("notes")); got != "by the module" {
		t.Errorf("notes: %q", got)
	}
}
