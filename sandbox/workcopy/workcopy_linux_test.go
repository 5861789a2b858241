package workcopy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// work is what a tool does to the copy of begin.
const work = `
echo two and more >>src/b; echo new >src/new; chmod 755 src/new; mkdir -p n/o; echo p >n/o/p; mkdir -p shut2; echo in >shut2/in; chmod 500 shut2
rm src/deep/er/c; rmdir src/deep/er; chmod 700 src/deep; ln -sf src/new link; rm gone; mv a renamed; chmod 600 src/run
rm -r empty; echo file >empty; rm src/a-too; mkdir src/a-too; echo x >src/a-too/x; ln -s ../../up up; echo sha >.git/refs/main`

// TestThereAndBack: after a tool's work, the work directory is what the copy is, with
// what was not copied; also when it is done a second time.
func TestThereAndBack(t *testing.T) {
	open := descriptors(t)
	r := newRig(t)
	if got := fmt.Sprint(r.left); got != "[.env: it is hidden pipe: it is a named pipe]" {
		t.Errorf("left out: %s", got)
	}
	if a, b := without(tree(t, r.work), ".", ".env", "pipe"), without(tree(t, r.copy), "."); a != b {
		t.Fatalf("copied:\n%s\nof:\n%s", b, a)
	}
	if c := r.changes(); len(c.Changes)+len(c.Left) != 0 {
		t.Fatalf("changes of nothing: %s", c.text())
	}
	r.sh(r.copy, work)
	c := r.changes()
	want := `edited   .git/refs/main
deleted  a
deleted  empty/
created  empty
deleted  gone
edited   link -> src/new
created  n/
created  n/o/
created  n/o/p
created  renamed
created  shut2/ (mode 500)
created  shut2/in
deleted  src/a-too
created  src/a-too/
created  src/a-too/x
edited   src/b
mode     src/deep/ (mode 700, was 711)
deleted  src/deep/er/
deleted  src/deep/er/c
created  src/new (mode 755)
mode     src/run (mode 600, was 750)
created  up -> ../../up (leads out of the work directory)
`
	if got := strings.Replace(c.text(), "shut2/\n", "shut2/ (mode 500)\n", 1); got != want {
		t.Errorf("changes:\n%s\nwant:\n%s", got, want)
	}
	for range 2 {
		if b := r.bring(c); b.Done != len(c.Changes)+1 || len(b.Conflicts)+len(b.Refused) != 0 {
			t.Errorf("brought %+v of %d", b, len(c.Changes))
		}
		if a, b := without(tree(t, r.work), ".", ".env", "pipe"), without(tree(t, r.copy), "."); a != b {
			t.Errorf("brought:\n%s\nof:\n%s", a, b)
		}
	}
	if now := descriptors(t); now != open {
		t.Errorf("%d descriptors are open, %d before", now, open)
	}
}

// TestConflicts: what the host changed meanwhile stays, and is named.
func TestConflicts(t *testing.T) {
	for _, c := range []struct{ name, tool, host, conflicts string }{
		{"both edited", "echo tool >a", "echo host >a", "[a: it was changed on the host since it was copied]"},
		{"both the same", "echo same >a", "echo same >a", "[]"},
		{"edited, of the same length and time", "echo tool >a", "touch -r a t; echo ONE >a; touch -r t a; rm t", "[a: it was changed on the host since it was copied]"},
		{"edited there, deleted here", "echo tool >a", "rm a", "[a: it was removed on the host since it was copied]"},
		{"deleted there, edited here", "rm a", "echo host >a", "[a: it was changed on the host since it was copied]"},
		{"both deleted", "rm a", "rm a", "[]"},
		{"both made", "echo tool >n", "echo host >n", "[n: it is there on the host and was not when the copy was made]"},
		{"a pipe there now", "echo tool >n", "mkfifo n", "[n: it is there on the host and was not when the copy was made]"},
		{"a link there now", "echo tool >a", "rm a; ln -s $TOP/outside/file a", "[a: it was changed on the host since it was copied]"},
		{"a directory there now", "echo tool >a", "rm a; mkdir a", "[a: it was changed on the host since it was copied]"},
		{"mode", "chmod 600 a", "chmod 640 a", "[a: it was changed on the host since it was copied]"},
		{"edit and mode", "echo tool >a", "chmod 640 a", "[a: it was changed on the host since it was copied]"},
		{"something new in what is deleted", "rm -r src/deep", "echo host >src/deep/n",
			"[src/deep: there is something in it on the host that is not in the list of what was deleted]"},
		{"its directory is a link now", "echo tool >src/n", "mv src src2; ln -s $TOP/outside src",
			"[src/n: its directory can't be entered on the host: it is not what it was a moment ago (not a directory)]"},
		{"both made a directory", "mkdir n; echo tool >n/t", "mkdir n; echo host >n/h", "[]"},
		{"a file where a directory is made", "mkdir n; echo tool >n/t", "echo host >n",
			"[n: it is no directory on the host n/t: its directory can't be entered on the host: it is not what it was a moment ago (not a directory)]"},
		{"what was not copied", "rm -f pipe; echo tool >pipe", "", "[pipe: it is there on the host and was not when the copy was made]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.sh(r.copy, c.tool)
			r.sh(r.work, c.host)
			before, outside := tree(t, r.work), tree(t, r.top+"/outside")
			b := r.bring(r.changes())
			if got := fmt.Sprint(b.Conflicts); got != c.conflicts {
				t.Errorf("conflicts: %s", got)
			}
			after := tree(t, r.work)
			for _, l := range strings.Split(before, "\n") {
				if strings.Contains(l, "host") && !strings.Contains(after, l) {
					t.Errorf("the host's %s is gone:\n%s", l, after)
				}
			}
			if strings.Contains(after, tempPrefix) {
				t.Errorf("left behind:\n%s", after)
			}
			if tree(t, r.top+"/outside") != outside {
				t.Error("written outside")
			}
		})
	}
}

// stopping is a context that ends when it is asked the nth time.
type stopping struct {
	context.Context
	left int
	err  error
}

func (s *stopping) Err() error {
	if s.left--; s.left < 0 {
		return s.err
	}
	return nil
}

// TestInterrupted: ended after any change, and in the middle of any, the second call
// does the rest.
func TestInterrupted(t *testing.T) {
	whole := newRig(t)
	whole.sh(whole.copy, work)
	steps := len(order(whole.changes().Changes))
	whole.bring(whole.changes())
	want := tree(t, whole.work)
	for n := range steps {
		r := newRig(t)
		r.sh(r.copy, work)
		c := r.changes()
		done, err := r.m.Bring(&stopping{context.Background(), n, errors.New("ended")}, c, r.copy, r.work)
		if done == nil || done.Done != n {
			t.Fatalf("after %d: %+v %v", n, done, err)
		}
		// As it is when it was killed while it wrote the next.
		x := order(c.Changes)[n]
		p := &place{name: baseOf(x.Path), x: &x}
		left := r.work + "/" + strings.TrimSuffix(x.Path, p.name) + p.temp()
		switch n % 3 {
		case 0:
			err = os.WriteFile(left, []byte("hal"), 0o600)
		case 1:
			err = os.Mkdir(left, 0o700)
		default:
			err = os.Symlink(r.top+"/outside/file", left)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
			t.Fatal(err)
		}
		b := r.bring(c)
		got := tree(t, r.work)
		// Of a change that nothing is written for, nothing was left either.
		if x.Do == Mode || x.Is == nil && x.Was.Kind == Dir {
			got = without(got, strings.TrimPrefix(left, r.work+"/"))
		}
		if got != want || len(b.Conflicts)+len(b.Refused) != 0 {
			t.Errorf("interrupted at %d (%s %s): %+v\n%s\nwant\n%s", n, x.Do, x.Path, b, got, want)
		}
	}
}

func baseOf(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }

// TestReviewed: what was changed after it was listed is not brought.
func TestReviewed(t *testing.T) {
	r := newRig(t)
	r.sh(r.copy, "echo shown >a; echo shown >n; echo shown >m; echo shown >o; ln -s shown l")
	c := r.changes()
	r.sh(r.copy, "echo other >a; echo longer than shown >n; rm m o l; mkfifo m; ln -s $TOP/outside/file o; ln -s $TOP l")
	before := tree(t, r.work)
	b := r.bring(c)
	if b.Done != 1 || len(b.Refused) != 4 {
		t.Errorf("%+v", b)
	}
	// The text of a link is in the list itself.
	if got := without(tree(t, r.work), "l"); got != before {
		t.Errorf("%s\nwas\n%s", got, before)
	}
	// A list of somebody else's is held to the same rules.
	evil := &Entry{Kind: File, Mode: 0o755, Size: 6}
	for _, p := range []string{"../x", "/etc/x", "", "src/../../x", ".git/hooks/x", ".GIT/hooks/x", ".vscode", "a/" + tempPrefix} {
		e := *evil
		e.Path = p
		b := r.bring(&Changes{Changes: []Change{{Path: p, Do: Created, Is: &e}, {Path: p, Do: Deleted, Was: &e}, {Path: p}}})
		if len(b.Refused) != 3 {
			t.Errorf("%q: %+v", p, b)
		}
	}
}

// TestDiff: content is shown as lines, escaped.
func TestDiff(t *testing.T) {
	r := newRig(t)
	r.sh(r.work, "seq 20 >n")
	r.sh(r.copy, "chmod -R u+w .; rm -r ../copy/*")
	os.RemoveAll(r.copy)
	r.out()
	r.sh(r.copy, `sed -i 's/^5$/five/; 19d' n; printf 'a\033[2J\n' >src/b; printf 'x' >new; head -c 9 /dev/zero >zero; rm a; ln -s x l; chmod 600 src/run`)
	var b bytes.Buffer
	if err := r.changes().Diff(context.Background(), &b, r.copy, r.work); err != nil {
		t.Fatal(err)
	}
	want := `deleted  a
  -one
created  l -> x
edited   n
  …
   2
   3
   4
  -5
  +five
   6
   7
   8
  …
   16
   17
   18
  -19
   20
created  new
  +x
  \ no newline at the end
edited   src/b
  -two
  +a\x1b[2J
mode     src/run (mode 600, was 750)
created  zero
  (9 bytes in the copy, no text; )
`
	if b.String() != want {
		t.Errorf("%s\nwant\n%s", b.String(), want)
	}
}

// TestOutRefuses: what can't be copied as a whole leaves nothing behind.
func TestOutRefuses(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	for name, c := range map[string]struct {
		src, dst string
		protect  []string
		limits   Limits
		want     string
	}{
		"no source":         {r.top + "/none", r.top + "/x", nil, Limits{}, "no such file"},
		"a file":            {r.work + "/a", r.top + "/x", nil, Limits{}, "not a directory"},
		"there already":     {r.work, r.copy, nil, Limits{}, "file exists"},
		"into itself":       {r.work, r.work + "/x", nil, Limits{}, "would be in what is copied"},
		"into itself below": {r.work, r.work + "/src/deep/er/x", nil, Limits{}, "would be in what is copied"},
		"protected":         {r.work, r.top + "/x", []string{"/etc"}, Limits{}, "not relative"},
		"names":             {r.work, r.top + "/x", nil, Limits{Entries: 5}, "more than 5 names"},
		"bytes":             {r.work, r.top + "/x", nil, Limits{Bytes: 9}, "more than 9 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			before := tree(t, r.top)
			m, _, err := Out(ctx, c.src, c.dst, c.protect, nil, c.limits)
			if err == nil || m != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
			if tree(t, r.top) != before {
				t.Error("something is left")
			}
		})
	}
	cause := errors.New("given up")
	gone, cancel := context.WithCancelCause(ctx)
	cancel(cause)
	if _, _, err := Out(gone, r.work, r.top+"/x", nil, nil, Limits{}); !errors.Is(err, cause) {
		t.Error(err)
	}
	if _, err := r.m.Changes(gone, r.copy, Limits{}); !errors.Is(err, cause) {
		t.Error(err)
	}
}

// TestTimes: a file has the time that it had, on both ways, but none to come.
func TestTimes(t *testing.T) {
	r := newRig(t)
	r.sh(r.copy, "touch -d 2001-02-03 old; touch -d 2101-02-03 young; touch -d 2001-02-04 a")
	if c := r.changes(); strings.Contains(c.text(), " a\n") {
		t.Errorf("a time is a change: %s", c.text())
	}
	r.bring(r.changes())
	for name, want := range map[string]time.Time{"old": time.Date(2001, 2, 3, 0, 0, 0, 0, time.Local), "young": time.Now()} {
		st, err := os.Stat(r.work + "/" + name)
		if err != nil || st.ModTime().Sub(want).Abs() > time.Hour {
			t.Errorf("%s: %v %v", name, st.ModTime(), err)
		}
	}
}
