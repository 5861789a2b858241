package workcopy

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// TestHostile: whatever a guest makes of the copy, nothing outside of the work
// directory is written or read, and what the host executes stays as it is.
func TestHostile(t *testing.T) {
	for _, c := range []struct {
		name, tool string
		left       string // what is said to be left out, a line each, with only the beginning of why
		brought    string // names that have to be there then
		root       bool   // only root can make it
	}{
		{name: "a parent that is a link", tool: `rm -r src; ln -s $TOP/outside src`, brought: "src"},
		{name: "a parent that is a link upwards", tool: `rm -r src; ln -s .. src`, brought: "src"},
		{name: "a link to a file outside", tool: `ln -s $TOP/outside/file stolen; ln -sf $TOP/outside/file a`, brought: "stolen"},
		{name: "a link over what is above the protected", tool: `mv .git g; ln -s g .git`,
			left: ".git: it is above what is protected\n.git/config: it is protected\n.git/hooks: it is protected\n.git/hooks/pre-commit: it is protected", brought: "g/hooks/pre-commit"},
		{name: "hooks", tool: `echo evil >.git/hooks/pre-commit; echo evil >.git/hooks/post-checkout; echo evil >>.git/config; mkdir .vscode; echo evil >.vscode/tasks.json; echo evil >.penstock.yaml`,
			left: ".git/config: it is protected\n.git/hooks/post-checkout: it is protected\n.git/hooks/pre-commit: it is protected\n.penstock.yaml: it is protected\n.vscode: it is protected\n.vscode/tasks.json: it is protected"},
		{name: "hooks away", tool: `rm -r .git`,
			left: ".git: it is above what is protected\n.git/config: it is protected\n.git/hooks: it is protected\n.git/hooks/pre-commit: it is protected"},
		{name: "hooks in capitals", tool: `mkdir -p .GIT/hooks; echo evil >.GIT/hooks/pre-commit; mkdir .Vscode`,
			left: ".GIT: it is above what is protected\n.GIT/hooks: it is protected\n.GIT/hooks/pre-commit: it is protected\n.Vscode: it is protected"},
		{name: "what was hidden", tool: `echo evil >.env`, left: ".env: it is hidden"},
		{name: "a hard link to a file outside", tool: `ln $TOP/outside/file stolen; ln $TOP/outside/file src/again`, left: "src/again: it is a hard link\nstolen: it is a hard link"},
		{name: "a hard link inside", tool: `ln a a2; echo more >>a2`, brought: "a2"},
		{name: "no files", tool: `mkfifo n; mkfifo src/deep/n; rm a; mkfifo a; perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local=>"s",Listen=>1) or die $!'`,
			left: "a: it is a named pipe\nn: it is a named pipe\ns: it is a socket\nsrc/deep/n: it is a named pipe"},
		{name: "devices", root: true, tool: `mknod null c 1 3; mknod disk b 8 0; rm a; mknod a c 1 5`, left: "a: it is a device\ndisk: it is a device\nnull: it is a device"},
		{name: "set-user-id", tool: `echo x >n; chmod 4755 n; chmod 2755 src/run; mkdir d; chmod 1777 d; echo x >d/x`,
			left: "d: it has the mode 1777\nn: it has the mode 4755\nsrc/run: it has the mode 2755"},
		{name: "names", tool: `echo x >"$(printf 'n\nl')"; echo x >"$(printf '\033]0;x\007')"; echo x >"$(printf '\377')"; echo x >-rf; echo x >"$(printf 'q"\\')"; mkdir '...'; echo x >'... /x' 2>/dev/null || echo x >.../x; echo x >"$(printf %0255d 7)"`,
			brought: "n\nl|\xff|-rf|.../x"},
		{name: "our own names", tool: `p=` + tempPrefix + `; echo x >${p}0123456789abcdef; mkdir ${p}d; echo x >${p}d/x`,
			left: tempPrefix + "0123456789abcdef: names with\n" + tempPrefix + "d: names with\n" + tempPrefix + "d/x: names with"},
		{name: "holes", tool: `truncate -s 5T huge; truncate -s 2M small`, left: "huge: it has more than 4294967296 bytes", brought: "small"},
		{name: "depth", tool: `d=.; i=0; while [ $i -lt 140 ]; do d=$d/d; i=$((i+1)); done; mkdir -p $d; echo x >$d/x`, left: strings.Repeat("d/", 128) + "d: it is more than 128"},
		{name: "no permissions", tool: `mkdir no; echo x >no/x; echo x >n; chmod 0 n no; chmod 0 src/run; chmod 0 src/deep`},
		{name: "nothing is left", tool: `chmod -R u+rwx .; find . -mindepth 1 -delete`,
			left: ".git: it is above what is protected\n.git/config: it is protected\n.git/hooks: it is protected\n.git/hooks/pre-commit: it is protected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root && os.Getuid() != 0 {
				t.Skip("an ordinary user can't make it")
			}
			r := newRig(t)
			outside, hooks, config := tree(t, r.top+"/outside"), tree(t, r.work+"/.git/hooks"), tree(t, r.work+"/.git/config")
			r.sh(r.copy, c.tool)
			r.sh(r.work, "chmod 700 shut") // the user could not delete in it otherwise
			x := r.changes()
			if shown := x.text(); strings.ContainsAny(shown, "\x1b\a") || !utf8.ValidString(shown) {
				t.Errorf("not escaped: %q", shown)
			}
			if c.name != "no permissions" { // it depends on who looks
				var got, want []string
				for _, l := range x.Left {
					got = append(got, l.Path+": "+l.Why)
				}
				if c.left != "" {
					want = strings.Split(c.left, "\n")
				}
				for i := range max(len(got), len(want)) {
					if i >= len(got) || i >= len(want) || !strings.HasPrefix(got[i], want[i]) {
						t.Fatalf("left out:\n%s\nwant\n%s", strings.Join(got, "\n"), c.left)
					}
				}
			}
			b := r.bring(x)
			if len(b.Conflicts)+len(b.Refused) != 0 {
				t.Errorf("%+v", b)
			}
			r.sh(r.work, "chmod -R u+rwX .")
			now := tree(t, r.work)
			for _, n := range strings.Split(c.brought, "|") {
				if n != "" && !strings.Contains(now, fmt.Sprintf(" %q", n)) {
					t.Errorf("no %q in\n%s", n, now)
				}
			}
			if strings.Contains(now, "precious") {
				t.Errorf("a file of outside came in:\n%s", now)
			}
			for _, bad := range []string{"\n014", "\n020", "\n060", "\n1017", "\n1027", "\n1047", "evil"} {
				if strings.Contains(now, bad) {
					t.Errorf("%q in\n%s", bad, now)
				}
			}
			if tree(t, r.top+"/outside") != outside || tree(t, r.work+"/.git/hooks") != hooks || tree(t, r.work+"/.git/config") != config {
				t.Errorf("what is not to be written was:\n%s", tree(t, r.top))
			}
		})
	}
}

// TestSwapped: directories of the copy and of the work directory that become links to
// outside while they are read and written lead nowhere.
func TestSwapped(t *testing.T) {
	r := newRig(t)
	r.sh(r.top, "mkdir outside/deep; for i in $(seq 20); do echo precious >outside/deep/$i; done")
	// The same names inside and outside, so that each look-up would find something.
	r.sh(r.copy, "for i in $(seq 20); do echo tool >src/deep/$i; done")
	list := r.changes()
	outside := tree(t, r.top+"/outside")
	inside, err := os.OpenRoot(r.work) // for what this test itself removes
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	var stop atomic.Bool
	done := make(chan int)
	for _, top := range []string{r.copy, r.work} {
		go func() {
			n := 0
			for ; !stop.Load(); n++ {
				unix.Rename(top+"/src", top+"/aside")
				unix.Symlink(r.top+"/outside", top+"/src")
				unix.Unlink(top + "/src")
				unix.Rename(top+"/aside", top+"/src")
			}
			done <- n
		}()
	}
	conflicts, read := 0, 0
	for range 100 {
		c, err := r.m.Changes(context.Background(), r.copy, Limits{})
		if err != nil {
			t.Error(err)
			break
		}
		if strings.Contains(c.text(), "src -> ") || len(c.Left) > 0 {
			read++
		}
		b, err := r.m.Bring(context.Background(), list, r.copy, r.work)
		if err != nil {
			t.Error(err)
			break
		}
		conflicts += len(b.Conflicts) + len(b.Refused)
		// Again from the beginning; the directory is at one of two places.
		for i := range 20 {
			for _, at := range []string{"src", "aside"} {
				inside.Remove(fmt.Sprintf("%s/deep/%d", at, i+1))
			}
		}
	}
	stop.Store(true)
	t.Logf("swapped %d and %d times, seen by the look %d times, %d changes stopped", <-done, <-done, read, conflicts)
	if got := tree(t, r.top+"/outside"); got != outside {
		t.Errorf("outside is\n%s\nwas\n%s", got, outside)
	}
	if now := tree(t, r.work); strings.Contains(now, "precious") {
		t.Errorf("outside came in:\n%s", now)
	}
	if conflicts == 0 {
		t.Error("no look-up ever met a link: nothing was tried")
	}
}

// TestSaved: an editor that saves in the moment between look and rename loses nothing.
func TestSaved(t *testing.T) {
	r := newRig(t)
	r.sh(r.copy, "echo tool >a; rm src/b")
	list := r.changes()
	for i := range list.Changes {
		x := &list.Changes[i]
		to, err := openRoot(r.work)
		if err != nil {
			t.Fatal(err)
		}
		from, err := openRoot(r.copy)
		if err != nil {
			t.Fatal(err)
		}
		b := &bring{from: from, to: to, read: newReader(), rules: r.m.rules()}
		defer b.close()
		defer from.Close()
		dir, name, err := b.parent(x.Path)
		if err != nil {
			t.Fatal(err)
		}
		p := &place{bring: b, dir: dir, name: name, x: x}
		now, st, err := p.current()
		if err != nil || !now.same(x.Was) {
			t.Fatalf("%+v %v", now, err)
		}
		if x.Do == Edited {
			if err := p.beside(now, &st); err != nil {
				t.Fatal(err)
			}
		}
		r.sh(r.work, "echo saved >"+x.Path+".new; mv "+x.Path+".new "+x.Path)
		if x.Do == Edited {
			err = p.exchange(&st)
		} else {
			err = p.take(&st)
		}
		if err == nil || !strings.Contains(err.Error(), changed) {
			t.Errorf("%s: %v", x.Path, err)
		}
		if got := tree(t, r.work+"/"+x.Path); !strings.Contains(got, `"saved\n"`) {
			t.Errorf("%s is %s", x.Path, got)
		}
	}
	if now := tree(t, r.work); strings.Contains(now, tempPrefix) {
		t.Errorf("left behind:\n%s", now)
	}
}

// TestLimits: a copy without end ends here.
func TestLimits(t *testing.T) {
	r := newRig(t)
	r.sh(r.copy, "for i in $(seq 200); do echo x >n$i; done")
	for _, l := range []Limits{{Entries: 100}, {Bytes: 200}} {
		if _, err := r.m.Changes(context.Background(), r.copy, l); err == nil || !strings.Contains(err.Error(), "over the limit") {
			t.Errorf("%+v: %v", l, err)
		}
	}
	c, err := r.m.Changes(context.Background(), r.copy, Limits{Depth: 1})
	if err != nil || !strings.Contains(c.text(), "left out src/deep: it is more than 1 ") || strings.Contains(c.text(), "deleted") {
		t.Errorf("%s %v", c.text(), err)
	}
}
