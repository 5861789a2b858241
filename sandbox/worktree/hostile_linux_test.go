package worktree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWorktreeHostile: whatever a tool writes into its repository and its files,
// the host executes and follows none of it, and gets commits or an error.
func TestWorktreeHostile(t *testing.T) {
	for _, c := range []struct {
		name, tool string
		refused    string // why it is not brought in; "" if it is
	}{
		{name: "configuration that runs programs", tool: `
for k in core.fsmonitor core.sshCommand core.pager core.editor diff.external filter.x.clean filter.x.smudge filter.x.process diff.x.textconv core.alternateRefsCommand uploadpack.packObjectsHook gpg.program; do git config $k "touch $CANARY"; done
git config filter.x.required true; git config include.path $CANARY
printf '* filter=x diff=x merge=x\n' >.gitattributes; echo x >>a`},
		{name: "hooks", tool: `
mkdir -p /run/penstock/git/hooks own-hooks
for h in pre-commit post-checkout post-merge reference-transaction post-index-change pre-receive update post-rewrite; do
  for d in /run/penstock/git/hooks own-hooks; do printf '#!/bin/sh\ntouch %s\n' $CANARY >$d/$h; chmod +x $d/$h; done
done
git config core.hooksPath $PWD/own-hooks; rm -f $CANARY; echo x >>a`},
		{name: "a directory that says it is a repository", tool: `
git init -q --bare bare; git -C bare config core.fsmonitor "touch $CANARY"
printf 'ref: refs/heads/main\n' >HEAD; mkdir -p objects refs; cp /run/penstock/git/config config; printf '\tfsmonitor = touch %s\n' $CANARY >>config; echo x >>a`},
		{name: "a nested repository", tool: `
git init -q nested; git -C nested config core.fsmonitor "touch $CANARY"; (cd nested; echo y >y; git -c core.fsmonitor= add y; git -c core.fsmonitor= -c user.name=u -c user.email=e commit -qm y)
git init -q empty; rm -f $CANARY; echo x >>a`},
		{name: "branch that is a symbolic link", tool: `
echo x >>a; git commit -qam x; git update-ref refs/heads/main HEAD; printf 'ref: refs/heads/main\n' >/run/penstock/git/refs/heads/penstock/h`},
		{name: "replaced objects", tool: `
echo x >>a; git commit -qam x; git replace HEAD HEAD~1 2>/dev/null || git replace "$(git rev-parse HEAD)" "$(git rev-parse HEAD~1)"`},
		{name: "alternates that lead elsewhere", tool: `
printf '/etc\n/proc/self/fd\n../../../../..\n' >>/run/penstock/git/objects/info/alternates; printf 'x\n' >/run/penstock/git/commondir; rm /run/penstock/git/commondir; echo x >>a`},
		{name: "an index that is rubbish", tool: `echo x >>a; head -c 4096 /dev/urandom >/run/penstock/git/index`},
		{name: "no repository any more", tool: `rm -rf /run/penstock/git/* ; echo x >>a`},
		{name: "HEAD without a branch", tool: `git checkout -q --orphan none; echo x >>a`},
		{name: "pipes and sockets among the files", tool: `mkfifo pipe sub/pipe; echo x >>a`},
		{name: "names", tool: `echo x >>a; echo x >"$(printf 'new\nline')"; echo x >"$(printf '\033[2J')"; echo x >'-rf'; echo x >"$(printf '\377')"; mkdir "$(printf 'q\"')"; echo x >"$(printf 'q\"/x')"`},
		{name: "a commit that is not there", tool: `mkdir -p /run/penstock/git/refs/heads/penstock; printf '%040d\n' 7 >/run/penstock/git/refs/heads/penstock/h; echo x >>a`},
		{name: "lost objects", tool: `
echo x >>a; git commit -qam x; t=$(git rev-parse HEAD^{tree}); b=$(git rev-parse HEAD:a); rm -f "/run/penstock/git/objects/$(echo $b | cut -c1-2)/$(echo $b | cut -c3-)"; git update-index --assume-unchanged a`,
			refused: "closed pen"},
		{name: "an object under another's name", tool: `
echo x >>a; git commit -qam x; b=$(git rev-parse HEAD:a); f="/run/penstock/git/objects/$(echo $b | cut -c1-2)/$(echo $b | cut -c3-)"
e=$(echo evil | git hash-object -w --stdin); chmod u+w "$f"; cp "/run/penstock/git/objects/$(echo $e | cut -c1-2)/$(echo $e | cut -c3-)" "$f"; git update-index --assume-unchanged a`,
			refused: "index-pack"},
		{name: "a tree with .git in it", tool: `
b=$(echo evil | git hash-object -w --stdin); t=$(printf "100644 blob $b\tconfig\n" | git mktree); t=$(printf "040000 tree $t\t.git\n" | git mktree --missing 2>/dev/null || { printf '40000 .git\0'; printf "$(echo $t | sed 's/../\\x&/g')"; } | git hash-object -t tree -w --stdin --literally)
c=$(git commit-tree -p HEAD -m evil $t); git update-ref refs/heads/penstock/h $c`,
			refused: "index-pack"},
		{name: "a hostile .gitmodules", tool: `
printf '[submodule "x"]\n\tpath = x\n\turl = -u./touch\n' >.gitmodules; git add .gitmodules; git commit -qm m`,
			refused: "index-pack"},
		{name: "a .gitmodules that is a link", tool: `
b=$(printf /etc/passwd | git hash-object -w --stdin); t=$({ git ls-tree HEAD; printf "120000 blob $b\t.gitmodules\n"; } | git mktree); git update-ref refs/heads/penstock/h $(git commit-tree -p HEAD -m m $t)`,
			refused: "index-pack"},
		{name: "a malformed commit", tool: `
c=$(git cat-file commit HEAD | sed 's/^author .*/author x/' | git hash-object -t commit -w --stdin --literally); git update-ref refs/heads/penstock/h $c`,
			refused: "index-pack"},
		{name: "another's commit", tool: `git update-ref refs/heads/penstock/h $(git rev-parse main); echo x >>a`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			ctx := context.Background()
			canary := filepath.Join(r.home, "canary") // of the host; in the tool's pen it is nowhere
			// Drivers of the user's own, which the tool's attributes would select.
			for _, k := range []string{"filter.x.clean", "filter.x.smudge", "filter.x.process", "merge.x.driver", "diff.x.textconv", "diff.x.command"} {
				r.git("config", k, "touch "+canary+"; cat")
			}
			r.write("project/.git/info/attributes", "* diff=x\n")
			before := r.git("for-each-ref") + r.read("project/.git/config") + r.read("project/.git/HEAD")
			h := r.create("h")
			r.tool(h, "export CANARY="+canary+"\n"+c.tool)
			err := h.Collect(ctx)
			switch {
			case c.refused == "" && err != nil:
				t.Fatal(err)
			case c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)):
				t.Fatalf("brought in: %v", err)
			}
			if err == nil {
				rep, err := h.Report(ctx)
				if err != nil {
					t.Fatal(err)
				}
				var b strings.Builder
				rep.Write(&b, 0)
				if strings.Contains(b.String(), "\x1b") || strings.Contains(b.String(), "\xff") {
					t.Errorf("report is not escaped: %q", b.String())
				}
				if err := h.Diff(ctx, &b); err != nil {
					t.Error(err)
				}
				if r.git("symbolic-ref", "-q", "HEAD") != "refs/heads/main" {
					t.Error("HEAD moved")
				}
				// A true merge, not a fast forward: drivers would be asked.
				r.write("project/sub/b", "main\n")
				r.git("commit", "-qam", "main goes on")
				if _, err := h.Merge(ctx); err != nil {
					t.Logf("merge: %v", err)
				}
			} else if at := r.git("rev-parse", "penstock/h"); at != h.Base {
				t.Errorf("the branch was moved to %s", at)
			}
			// The user looks around in what is left.
			left := *r
			left.repo = h.Tree()
			if out, err := left.tryGit("status"); err == nil {
				t.Errorf("git finds a repository in the tree: %s", out)
			}
			if _, err := h.Remove(ctx, false); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(canary); !errors.Is(err, os.ErrNotExist) {
				t.Error("the host executed what the tool wrote")
			}
			if after := r.git("for-each-ref") + r.read("project/.git/config") + r.read("project/.git/HEAD"); c.refused != "" && after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			r.git("fsck", "--strict")
		})
	}
}

// TestWorktreeLeftOut: nested repositories and other branches are named.
func TestWorktreeLeftOut(t *testing.T) {
	r := newRig(t)
	h := r.create("h")
	r.tool(h, `git init -q nested; echo x >nested/x; git checkout -qb mine; echo y >y; git add y; git commit -qm y; git checkout -q penstock/h; echo z >z`)
	rep := r.collect(h)
	if fmt.Sprint(rep.Nested, rep.Branches) != "[nested] [mine]" || len(rep.Changes) != 1 {
		t.Errorf("left out %q and %q, changes %+v", rep.Nested, rep.Branches, rep.Changes)
	}
}

// TestWorktreeBlocked: a pipe where git reads a file holds nobody up for longer
// than the caller waits, and the worktree can be removed.
func TestWorktreeBlocked(t *testing.T) {
	r := newRig(t)
	h := r.create("h")
	r.tool(h, `rm /run/penstock/git/HEAD; mkfifo /run/penstock/git/HEAD; mkdir -p deep/er; chmod 0 deep/er deep; chmod 500 /run/penstock/git/objects`)
	ctx, cancel := context.WithTimeoutCause(context.Background(), 1e9, errors.New("given up"))
	defer cancel()
	if err := h.Collect(ctx); err == nil || !strings.Contains(err.Error(), "given up") {
		t.Errorf("collect: %v", err)
	}
	if _, err := h.Remove(context.Background(), false); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(r.store.Dir() + "/[^.]*"); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

// TestWorktreeRemove: only what is registered is removed, and no link is followed.
func TestWorktreeRemove(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	r.write("victim/keep", "x")
	h := r.create("h")
	r.tool(h, `ln -s `+r.home+`/victim out; ln -s / root; git init -q sub/nested`)
	// Somebody else's directories in the root, and links to some.
	project := filepath.Dir(filepath.Dir(h.Tree()))
	writeFile(t, project+"/not-ours/file", "x")
	writeFile(t, project+"/forged/"+metaFile, `{"version":1,"id":"../../victim","name":"forged"}`)
	for _, l := range []string{project + "/linked", r.store.Dir() + "/linked", project + "/.gone-link"} {
		if err := os.Symlink(filepath.Join(r.home, "victim"), l); err != nil {
			t.Fatal(err)
		}
	}
	list, err := r.store.List()
	if err != nil || len(list) != 1 || list[0].State != Running {
		t.Fatalf("list: %+v, %v", list, err)
	}
	for _, id := range []string{"not-ours", "forged", "linked", "../victim", "..", "", "/", h.ID + "/tree"} {
		if e, err := r.store.Find(ctx, id, r.repo); err == nil {
			t.Errorf("%q is found: %+v", id, e)
		}
		if held, err := r.store.Hold(id); err == nil {
			t.Errorf("%q is held: %+v", id, held)
		}
	}
	if _, err := r.store.Hold(h.ID); err == nil {
		t.Error("two hold one worktree")
	}
	if _, err := h.Remove(ctx, false); err != nil {
		t.Fatal(err)
	}
	for _, keep := range []string{r.home + "/victim/keep", project + "/not-ours/file", project + "/linked", project + "/.gone-link", r.store.Dir() + "/linked"} {
		if _, err := os.Lstat(keep); err != nil {
			t.Error(err)
		}
	}
}

// TestWorktreeRegistration: what was not written by Penstock registers nothing.
func TestWorktreeRegistration(t *testing.T) {
	r := newRig(t)
	h := r.create("h")
	good, err := h.root.ReadFile(h.ID + "/" + metaFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{
		{`"version": 1`, `"version": 2`}, {h.ID + `"`, h.ID + `/../x"`}, {`"name": "h"`, `"name": "../h"`}, {`"name": "h"`, `"name": ""`},
		{`"branch": "penstock/h"`, `"branch": "main"`}, {`"base": "`, `"base": "--all`}, {h.Repository, "relative"}, {`"ready": true`, `"ready": true, "tip": "-x"`},
		{`"ready": true`, `"ready": true, "snapshot": "HEAD"`}, {`"ready": true`, `"ready": true, "bringing": "main"`}, {"{", "["},
	} {
		bad := strings.Replace(string(good), c[0], c[1], 1)
		if bad == string(good) {
			t.Fatalf("no %s in %s", c[0], good)
		}
		if err := h.root.WriteFile(h.ID+"/"+metaFile, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if list, err := r.store.List(); err != nil || len(list) != 0 {
			t.Errorf("%s: listed %+v, %v", c[1], list, err)
		}
	}
}

// TestWorktreeMoved: a branch that the user moved is neither overwritten nor
// deleted.
func TestWorktreeMoved(t *testing.T) {
	r := newRig(t)
	h := r.create("h")
	r.tool(h, "echo x >>a")
	r.git("commit", "-q", "--allow-empty", "-m", "user's")
	r.git("branch", "-f", "penstock/h", "main")
	if err := h.Collect(context.Background()); err == nil || !strings.Contains(err.Error(), "was moved meanwhile") {
		t.Errorf("collect: %v", err)
	}
	out, err := h.Remove(context.Background(), false)
	if err != nil || out.BranchKept == "" || r.git("rev-parse", "penstock/h") != r.git("rev-parse", "main") {
		t.Errorf("remove: %+v, %v", out, err)
	}
}

// TestClosedPen: what runs in it reaches neither network, nor home, nor what it
// reads.
func TestClosedPen(t *testing.T) {
	r := newRig(t)
	r.write("secret", "hunter2")
	h := r.create("h")
	var out strings.Builder
	err := h.closed(false).run(context.Background(), "try", `
for f in `+r.home+`/secret `+r.repo+`/a /etc/passwd /etc/shadow /root /home /var /run/penstock/tree/../../../secret; do if test -e $f; then echo "sees $f"; fi; done
for d in / /usr /run/penstock/tree /run/penstock/git /run/penstock/objects /run/penstock/own /dev; do if touch $d/x 2>/dev/null; then echo "writes $d"; fi; done
if test "$(ls /sys/class/net 2>/dev/null | wc -l)" != 0; then echo "sees /sys"; fi
grep -E '^(CapEff|CapBnd|Seccomp|NoNewPrivs):' /proc/self/status | tr -s '\t ' ' '
env | grep -E '^(SSH_|XDG_|USER|DBUS|PENSTOCK)' && echo "sees the environment" || :
unshare -U true 2>/dev/null && echo "makes namespaces" || :
if test "$(ls /proc | grep -c '^[0-9]')" -gt 8; then echo "sees processes"; fi
if test "$(sed 1,2d /proc/net/dev | grep -vc lo:)" != 0; then echo "sees interfaces"; fi`, &out)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"sees", "writes", "makes"} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("answer:\n%s", out.String())
		}
	}
	for _, w := range []string{"CapEff: 0000000000000000", "CapBnd: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2"} {
		if !strings.Contains(out.String(), w) {
			t.Errorf("no %s in\n%s", w, out.String())
		}
	}
}
