package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox"
)

// keptScenario is a caller that does nothing about its limits, which are told in
// its arguments; with "alive" it says all the time that its terminal is used.
func keptScenario(u *pretender) error {
	if err := json.Unmarshal([]byte(u.args[0]), &u.limits); err != nil {
		return err
	}
	alive := u.args[1] == "alive"
	u.args = nil
	if err := u.to(stepServe); err != nil {
		return err
	}
	fmt.Println("serving", u.opened.Session)
	if alive {
		u.in.ReadString('\n')
		for range 50 {
			if err := within(u.client.Alive); err != nil {
				return err
			}
			unix.Poll(nil, 20)
		}
		fmt.Println("still there")
	}
	<-u.client.Done()
	fmt.Println("ended:", u.client.Why())
	<-u.pen.Done()
	return nil
}

// TestLimitsOfTime: a caller that lets its command go on for longer than it said
// loses its session.
func TestLimitsOfTime(t *testing.T) {
	s := serve(t, func(c *Config) { c.late = 100 * time.Millisecond })
	for _, tt := range []struct {
		limits sandbox.Limits
		alive  bool
		want   string
	}{
		{sandbox.Limits{Wall: 200 * time.Millisecond}, false, "time limit of 200ms"},
		{sandbox.Limits{Wall: 1500 * time.Millisecond}, true, "time limit of 1.5s"},
		{sandbox.Limits{Idle: 300 * time.Millisecond}, false, "idle for 300ms"},
		{sandbox.Limits{Idle: 300 * time.Millisecond}, true, "idle for 300ms"},
	} {
		b, err := json.Marshal(tt.limits)
		if err != nil {
			t.Fatal(err)
		}
		c := s.call(t, ann, "kept", string(b), map[bool]string{true: "alive", false: ""}[tt.alive])
		id := c.expect("serving")
		if tt.alive {
			c.next()
			c.expect("still there")
		}
		c.expect("ended: the supervisor ended the session: " + tt.want)
		c.end()
		s.idle(t)
		got := s.records(t, ann, id)
		if last := got[len(got)-1]; last["type"] != "session_end" || last["reason"] != tt.want {
			t.Errorf("%v", last)
		}
	}
}

// TestOpenFiles: a pen that may open more files than it was opened with is not
// admitted.
func TestOpenFiles(t *testing.T) {
	s := serve(t, nil)
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		t.Fatal(err)
	}
	for most, want := range map[uint64]string{own.Max: "<nil>", own.Max - 1: "verify: it may open "} {
		c := s.call(t, ann, "paths", "", fmt.Sprintf(`{"OpenFiles":%d}`, most))
		c.expect("verified: " + want)
		c.end()
		s.idle(t)
	}
}

// freezeScenario stops its pen and lets it go on.
func freezeScenario(u *pretender) error {
	if err := u.to(stepJoin); err != nil {
		return err
	}
	fmt.Println("early:", within(func(ctx context.Context) error { return u.client.Freeze(ctx, true) }))
	u.client.Close()
	u.pen.Close()
	if err := u.to(stepServe); err != nil {
		return err
	}
	for _, on := range []bool{true, true, false, false} {
		if err := within(func(ctx context.Context) error { return u.client.Freeze(ctx, on) }); err != nil {
			return err
		}
		u.say("frozen %v %s", on, u.opened.Session)
	}
	return within(u.end)
}

// nagScenario says over and over what it may say now and then.
func nagScenario(u *pretender) error {
	what := u.args[0]
	u.args = nil
	if err := u.to(stepServe); err != nil {
		return err
	}
	var err error
	n := 0
	for ; err == nil && n < 10_000; n++ {
		err = within(func(ctx context.Context) error {
			switch what {
			case "alive":
				return u.client.Alive(ctx)
			case "flush":
				return u.client.Flush(ctx)
			}
			return u.client.Freeze(ctx, false)
		})
	}
	fmt.Println("after few:", n < 1000, err)
	<-u.pen.Done()
	return nil
}

// TestNagging: a caller that floods its session's conversation loses the session.
func TestNagging(t *testing.T) {
	s := serve(t, nil)
	for _, what := range []string{"alive", "flush", "freeze"} {
		c := s.call(t, ann, "nag", what)
		c.expect("after few: true too many messages of this session")
		c.end()
		s.idle(t)
	}
}

func (s *service) frozen(t *testing.T, id string) bool {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Daemon.mu.Lock()
	defer s.Daemon.mu.Unlock()
	text, err := os.ReadFile(filepath.Join(s.sessions[id].group.Dir(), "cgroup.events"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(text), "frozen 1")
}

// TestFreeze: a session's pen is stopped and let go on when its caller says so,
// and only once it is one.
func TestFreeze(t *testing.T) {
	s := serve(t, nil)
	c := s.call(t, ann, "freeze")
	if got := c.expect("early:"); !strings.Contains(got, "out of turn") {
		t.Errorf("before it is verified: %q", got)
	}
	for _, on := range []bool{true, true, false, false} {
		got := c.expect(fmt.Sprintf("frozen %v", on))
		if s.frozen(t, strings.TrimSpace(got)) != on {
			t.Errorf("frozen %v: it is not", on)
		}
		c.next()
	}
	c.end()
	s.idle(t)
}

// pathsScenario opens a session, gives the proxy the administrator's file to read
// unless it is told not to, and has the pen, in which everything is as on the
// machine, verified.
func pathsScenario(u *pretender) error {
	steps := u.steps()
	if u.args[0] == "unread" {
		steps = append(steps[:stepOpen:stepOpen], steps[stepConfigure:]...)
	}
	if err := json.Unmarshal([]byte(u.args[1]), &u.limits); err != nil {
		return err
	}
	u.args = nil
	var err error
	for _, step := range steps[:len(steps)-2] {
		if err = within(step); err != nil {
			break
		}
	}
	fmt.Println("verified:", err)
	return nil
}

// TestPathsOfThePen: a pen in which a patched client shows what is hidden, or lets
// be written what may not be, is not admitted; nor is any before its proxy has said
// what the administrator's file has to say of that.
func TestPathsOfThePen(t *testing.T) {
	s := serve(t, nil)
	dir := filepath.Dir(s.socket)
	for _, name := range []string{"secret/inner", "closed/inner"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "closed"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	// One that lets nobody but its user look into it.
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fuse.Close()
	own := filepath.Join(dir, "own")
	if err := os.Mkdir(own, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("own", own, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d", fuse.Fd(), ann, ann)); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(own, unix.MNT_DETACH) //nolint:errcheck // the directory can't be removed then
	for _, tt := range []struct{ floor, how, want string }{
		{"", "", ""},
		{"limits: {hide: [$/own/deep/key]}", "", "a FUSE file system of the user's own"},
		{"limits: {hide: [$/own]}", "", "a FUSE file system of the user's own"},
		{"egress: {default: deny}", "", ""},
		{"limits: {hide: [$/none, $/closed/inner]}", "", ""},
		{"limits: {hide: [$/secret]}", "", "policy.yaml:2 hides "},
		{"limits: {hide: [$/secret/inner]}", "", "policy.yaml:2 hides "},
		{"limits: {hide: [$/file]}", "", "policy.yaml:2 hides "},
		{"limits: {hide: [$/closed]}", "", "policy.yaml:2 hides "}, // its name and what it is are seen
		{"filesystem: {hide: [$/secret]}", "", "policy.yaml:2 hides "},
		{"limits: {write: []}", "", "which is outside $/policy.yaml:2"},
		{"limits: {write: [$]}", "", "which is outside $/policy.yaml:2"},
		{"egress: {default: deny}", "unread", "has not read the administrator's policy"},
	} {
		os.Remove(s.cfg.Policy)
		if tt.floor != "" {
			if err := os.WriteFile(s.cfg.Policy, []byte("version: 1\n"+strings.ReplaceAll(tt.floor, "$", dir)+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		c := s.call(t, ann, "paths", tt.how, "{}")
		got, want := c.expect("verified:"), strings.ReplaceAll(tt.want, "$", dir)
		if tt.want == "" && got != "<nil>" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", tt.floor, got, tt.want)
		}
		c.end()
		s.idle(t)
	}
}

// TestSlowFiles: a file system that does not answer costs its user sessions, and
// nobody anything else.
func TestSlowFiles(t *testing.T) {
	s := serve(t, func(c *Config) { c.Settings.Quota.Sessions = 1 })
	dir := filepath.Dir(s.socket)
	slow := filepath.Join(dir, "slow")
	if err := os.Mkdir(slow, 0o755); err != nil {
		t.Fatal(err)
	}
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fuse.Close()
	if err := unix.Mount("slow", slow, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fuse.Fd())); err != nil {
		t.Fatal(err)
	}
	unmount := func() { unix.Unmount(slow, unix.MNT_DETACH) }
	defer unmount()
	if err := os.WriteFile(s.cfg.Policy, []byte("version: 1\nlimits: {hide: ["+slow+"/x]}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second is not even begun
		c := s.call(t, ann, "paths", "", "{}")
		if got := c.expect("verified:"); !strings.Contains(got, "don't answer") {
			t.Errorf("got %q", got)
		}
		c.end()
		s.idle(t)
	}
	// Who has other files is not concerned.
	if err := os.WriteFile(s.cfg.Policy, []byte("version: 1\nlimits: {hide: [/none]}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := s.call(t, bob, "paths", "", "{}")
	c.expect("verified: <nil>")
	c.end()
	s.idle(t)
	// And it is over when the file system is.
	fuse.Close()
	for end := time.Now().Add(20 * time.Second); ; unix.Poll(nil, 5) {
		s.accounts.mu.Lock()
		n := s.accounts.of[ann].lookups
		s.accounts.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d looks go on", n)
		}
	}
}

// TestHomeOf: the machine's directory says where a home is.
func TestHomeOf(t *testing.T) {
	root(t) // who asks does so as nobody
	for _, of := range []func() (string, error){func() (string, error) { return homeOf(0) }, func() (string, error) { return homeByName("0") }} {
		if got, err := of(); err != nil || got != "/root" {
			t.Errorf("%q, %v", got, err)
		}
	}
	if got, err := homeOf(1 << 30); err == nil {
		t.Errorf("nobody's is %q", got)
	}
}

// TestWalk: a path leads within a view to what the kernel would find from there.
func TestWalk(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a/b", "c"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "a/file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"abs": "/a/b", "rel": "a/../a/b", "a/b/up": "../../c", "out": "../../../../etc", "loop": "loop", "one": "two", "two": "one", "hang": "none", "c/chain": "/abs/up",
	} {
		if err := os.Symlink(text, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	before := openFiles(t)
	v := &view{root: root}
	for name, want := range map[string]string{
		"/": "", ".": "", "/..": "", "/a": "a", "a/b/..": "a", "//a//b/": "a/b", "/abs": "a/b", "/rel": "a/b", "/abs/up": "c", "/c/chain": "c", "/a/file": "a/file", "/../../a": "a",
		"/none": "-", "/a/none/..": "-", "/a/file/x": "-", "/loop": "-", "/one": "-", "/hang": "-", "/out": "-", "/out/passwd": "-",
	} {
		o, err := v.find(name, false)
		if want == "-" {
			if !errors.Is(err, errNone) {
				t.Errorf("%s: %+v, %v", name, o, err)
			}
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, want), &st); err != nil {
			t.Fatal(err)
		}
		if err != nil || o.ino != st.Ino || o.dev != st.Dev {
			t.Errorf("%s is not %s: %+v, %v", name, want, o, err)
		}
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open, %d before", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestLookupIsTheUsers: on the thread that looks, root can't see what the user
// can't, by any of the ids.
func TestLookupIsTheUsers(t *testing.T) {
	root(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]struct{ uid, gid, mode int }{
		"roots": {0, 0, 0o700}, "user": {4242, 0, 0o700}, "group": {0, 4343, 0o070}, "further": {0, 4444, 0o070}, "other": {0, 4545, 0o070},
	} {
		inner := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Join(inner, "inner"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(inner, d.uid, d.gid); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(inner, os.FileMode(d.mode)); err != nil {
			t.Fatal(err)
		}
	}
	for parent := filepath.Dir(dir); parent != "/tmp" && parent != "/"; parent = filepath.Dir(parent) {
		if err := os.Chmod(parent, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	type seen struct {
		names []string
		err   error
	}
	done := make(chan seen)
	look := func(uid, gid int, groups ...uint32) {
		runtime.LockOSThread() // it ends with this
		var s seen
		defer func() { done <- s }()
		v, _, err := openHost()
		if err != nil {
			s.err = err
			return
		}
		defer v.root.Close()
		if s.err = becomeForFiles(uid, gid, groups); s.err != nil {
			return
		}
		for _, name := range []string{"roots", "user", "group", "further", "other"} {
			if _, err := v.find(filepath.Join(dir, name, "inner"), true); err == nil {
				s.names = append(s.names, name)
			}
		}
	}
	go look(4242, 4343, 4444)
	if got := <-done; got.err != nil || strings.Join(got.names, " ") != "user group further" {
		t.Errorf("%v, %v", got.names, got.err)
	}
	go look(0, 4343)
	if got := <-done; got.err != nil || strings.Join(got.names, " ") != "roots" {
		t.Errorf("as root without capabilities: %v, %v", got.names, got.err)
	}
	if uid, err := unix.SetfsuidRetUid(-1); err != nil || uid != 0 {
		t.Errorf("another thread has become %d, %v", uid, err)
	}
}
