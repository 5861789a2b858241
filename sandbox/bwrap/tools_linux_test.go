package bwrap

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/sandbox/layout"
)

// TestTools runs what agents run, on the machine's own home and PATH.
func TestTools(t *testing.T) {
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ tool, script, want string }{
		{"node", `node -e 'const os=require("os");console.log("node", Object.keys(os.networkInterfaces()).length>=0, require("child_process").execSync("echo child").toString().trim())'`, "node true child"},
		{"python3", `python3 -c 'import subprocess,threading,multiprocessing,tempfile,socket;t=threading.Thread(target=print,args=("thread",));t.start();t.join();print(subprocess.run(["echo","child"],capture_output=True).stdout.decode().strip());multiprocessing.Lock();socket.socketpair();tempfile.TemporaryFile().write(b"x")'`, "thread\nchild"},
		{"java", `java -version 2>&1 | head -1`, "version"},
		{"go", `mkdir m && cd m && printf 'package main\nfunc main(){println("built")}\n' > main.go && GOFLAGS=-mod=mod GO111MODULE=off go run main.go 2>&1`, "built"},
		{"gcc", `printf 'int main(){return 0;}' > a.c && gcc -o a a.c && ./a && echo compiled`, "compiled"},
		{"strace", `strace -f -e trace=execve -o log true && grep -c execve log`, "1"},
		{"git", `git init -q r && cd r && git -c user.name=a -c user.email=b@c commit -q --allow-empty -m x && git log --oneline | wc -l`, "1"},
		{"bash", `exec 3<>/dev/null; f=$(mktemp) && echo x > $f && mkfifo p && (cat p > q & echo y > p; wait) && cat q; ulimit -c; test -w /dev/shm && echo shm`, "shm"},
		{"tar", `mkdir d && echo x > d/f && tar cf - d | (mkdir e && tar xf - -C e) && cat e/d/f`, "x"},
	} {
		t.Run(c.tool, func(t *testing.T) {
			if _, err := exec.LookPath(c.tool); err != nil {
				if os.Getenv("CI") == "true" {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			work := t.TempDir()
			code, out, errs := run(t, laid(t, home, work, nil, "bash", "-c", c.script))
			if code != 0 || !strings.Contains(out, c.want) {
				t.Errorf("exit code %d\n%s%s", code, out, errs)
			}
		})
	}
}

// git runs git on the host.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func needGit(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("install git")
	}
}

// TestGitWorks: with everything protected, git does its work in the pen and
// does not see the placeholders.
func TestGitWorks(t *testing.T) {
	needGit(t)
	home := t.TempDir()
	work := filepath.Join(home, "project")
	git(t, home, "init", "-q", "project")
	if err := os.WriteFile(filepath.Join(work, "a"), []byte("a\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	git(t, work, "add", "a")
	git(t, work, "commit", "-q", "-m", "first")
	script := `set -e
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=b
test -z "$(git status --porcelain)"
echo b > b; git add -A; git commit -q -m second
git checkout -q -b topic; echo c > c; git add -A; git commit -q -m third
git checkout -q main; git merge -q topic; git rebase -q topic; git stash list; git gc -q; git fsck
git tag v1; git log --oneline; git show --stat HEAD | cat
! git config user.name evil
! git config core.fsmonitor ./evil
! git remote add x y 2>/dev/null`
	code, out, errs := run(t, laid(t, home, work, nil, "sh", "-c", script))
	if code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	if got := git(t, work, "log", "--format=%s", "-1"); got != "third\n" {
		t.Errorf("%q", got)
	}
	if got := git(t, work, "ls-files"); got != "a\nb\nc\n" {
		t.Errorf("committed: %q", got)
	}
}

// TestGitWorktree: in a linked worktree git works too, with the repository's
// hooks and configuration protected, and a forged link grants nothing.
func TestGitWorktree(t *testing.T) {
	needGit(t)
	home := t.TempDir()
	git(t, home, "init", "-q", "main")
	git(t, filepath.Join(home, "main"), "commit", "-q", "--allow-empty", "-m", "first")
	git(t, filepath.Join(home, "main"), "worktree", "add", "-q", "../tree")
	work := filepath.Join(home, "tree")
	script := `set -e
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=b
echo b > b; git add -A; git commit -q -m second
! (echo x > ../main/.git/hooks/pre-commit) 2>/dev/null
! (echo x >> ../main/.git/config) 2>/dev/null
! mv ../main/.git/hooks ../main/.git/h 2>/dev/null
! (echo x > .git) 2>/dev/null
echo x > ../main/file # in the pen's own memory
! mv .git g 2>/dev/null`
	code, out, errs := run(t, laid(t, home, work, nil, "sh", "-c", script))
	if code != 0 {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	if got := git(t, work, "log", "--format=%s", "-1"); got != "second\n" {
		t.Errorf("%q", got)
	}

	if _, err := os.Stat(filepath.Join(home, "main/file")); err == nil {
		t.Error("the repository's work tree was written to")
	}

	forged := filepath.Join(home, "forged")
	if err := os.MkdirAll(forged, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(forged, ".git"), []byte("gitdir: "+filepath.Join(home, "main/.git/worktrees/tree")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	plan, err := layout.Build(layout.Input{Work: forged, Home: home}, layout.OS())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range plan.Mounts {
		if strings.HasPrefix(m.Target, filepath.Join(home, "main")) {
			t.Errorf("a forged link granted %s", m.Target)
		}
	}
}

// TestCommondirAttack shows why .git/commondir is protected: on the host, that
// one file moves a repository's configuration to where anybody put it.
func TestCommondirAttack(t *testing.T) {
	needGit(t)
	home := t.TempDir()
	work := filepath.Join(home, "project")
	git(t, home, "init", "-q", "project")
	attack := `cp -r .git evil; echo '[core]
	fsmonitor = "touch ` + home + `/owned; false"' >> evil/config; echo ../evil > .git/commondir; echo ../evil > x; mv x .git/commondir; ln -sf x .git/commondir`
	run(t, laid(t, home, work, nil, "sh", "-c", attack))
	git(t, work, "status")
	if _, err := os.Stat(filepath.Join(home, "owned")); err == nil {
		t.Error("the host executed what the pen left")
	}
}
