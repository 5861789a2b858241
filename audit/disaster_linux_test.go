package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childVariable makes the test binary a child that is to come to grief.
const childVariable = "PENSTOCK_AUDIT_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childVariable) {
	case "writer":
		writerChild(os.Args[len(os.Args)-1])
		return
	}
	os.Exit(m.Run())
}

// inSmallDisk runs the calling test again in a mount namespace of its own, in
// which dir is a tmpfs of 256 KiB, and returns false; in there it returns true.
func inSmallDisk(t *testing.T) (dir string, inside bool) {
	t.Helper()
	dir = os.Getenv("PENSTOCK_AUDIT_DISK")
	if dir != "" {
		// Private, so that nothing reaches the host's mounts.
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,mode=700"); err != nil {
			t.Fatal(err)
		}
		return dir, true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "PENSTOCK_AUDIT_DISK="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		if os.Getenv("CI") == "true" {
			t.Fatalf("user namespaces are refused: %v", err)
		}
		t.Skip("needs user namespaces (sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces)")
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("did not run:\n%s", out)
	}
	return dir, false
}

func TestFullDisk(t *testing.T) {
	dir, inside := inSmallDisk(t)
	if !inside {
		return
	}
	s, err := Open(filepath.Join(dir, "audit"))
	if err != nil {
		t.Fatal(err)
	}
	ses, w := begin(t, s)
	var said []error
	w.OnFailure(func(err error) { said = append(said, err) })
	// What else fills the disk.
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 100<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	total := uint64(0)
	for round := range 3 {
		for err = nil; err == nil; {
			err = w.Append(openEvent())
		}
		var we *WriteError
		if !errors.Is(err, syscall.ENOSPC) || !errors.As(err, &we) {
			t.Fatalf("round %d: %v", round, err)
		}
		refused := uint64(1)
		for range 5 {
			if err := w.Append(openEvent()); err == nil {
				t.Fatal("a record found room on a full disk")
			}
			refused++
		}
		w.Note(closeEvent()) // lost as well, and counted
		if err := w.Flush(); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("flush: %v", err)
		}
		refused++
		if len(said) != round+1 {
			t.Fatalf("round %d: said %v", round, said)
		}
		// On the disk are whole records only, up to the head.
		r := verify(t, s, VerifyOptions{})
		seq, _ := w.Head()
		if res := r.Sessions[0]; res.State != StateRunning || res.Torn != 0 || res.Records != seq || res.Bytes != w.Size() {
			t.Fatalf("round %d: %+v, head %d", round, res, seq)
		}
		// Space returns.
		if err := os.Truncate(ballast, int64(60-30*round)<<10); err != nil {
			t.Fatal(err)
		}
		if err := w.Append(openEvent()); err != nil {
			t.Fatalf("with space: %v", err)
		}
		total += refused
		if c := w.Counts(); c.Lost != total {
			t.Fatalf("round %d: %d lost, want %d", round, c.Lost, total)
		}
		b, _ := os.ReadFile(ses.Path)
		lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
		want := fmt.Sprintf(`,"count":%d,"reason":"write failed","detail":"write `, refused)
		if l := lines[len(lines)-2]; !bytes.Contains(l, []byte(`"type":"loss"`)) || !bytes.Contains(l, []byte(want)) {
			t.Fatalf("round %d: before the first record stands %s", round, l)
		}
	}
	os.Remove(ballast)
	w.Append(&SessionEnd{Counts: w.Counts()})
	seal(t, ses, w)
	if r := verify(t, s, VerifyOptions{}); !r.Whole() || r.Sessions[0].Lost != total {
		t.Fatalf("%+v", r)
	}
}

// A session that can't be entered in the ledger does not begin and leaves nothing.
func TestCreateOnFullDisk(t *testing.T) {
	dir, inside := inSmallDisk(t)
	if !inside {
		return
	}
	s, err := Open(filepath.Join(dir, "audit"))
	if err != nil {
		t.Fatal(err)
	}
	first := record(t, s, openEvent())
	// The ledger's page has room for some entries; then nothing has.
	if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 300<<10), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	n := 1
	for err = nil; err == nil && n < 1000; n++ {
		var ses *Session
		if ses, err = s.Create(time.Now()); err == nil {
			ses.File.Close()
		}
	}
	n--
	var se *StoreError
	if !errors.Is(err, syscall.ENOSPC) || !errors.As(err, &se) || se.Hint() == "" {
		t.Fatalf("create: %v", err)
	}
	if ids, err := s.Sessions(); err != nil || len(ids) != n {
		t.Errorf("%d sessions, want %d: %v", len(ids), n, err)
	}
	r := verify(t, s, VerifyOptions{})
	if !r.OK() || r.Ledger.Torn != 0 || r.Ledger.Records != uint64(n)+1 {
		t.Errorf("%+v", r.Ledger)
	}
	if r := verify(t, s, VerifyOptions{Session: first.ID}); r.Sessions[0].State != StateOK {
		t.Errorf("%+v", r.Sessions)
	}
}

// Many goroutines at a full disk: every Append that returned nil is in the file,
// every other one is not.
func TestInvariant05RecordedOrRefused(t *testing.T) {
	dir, inside := inSmallDisk(t)
	if !inside {
		return
	}
	f, err := os.OpenFile(filepath.Join(dir, "s.jsonl"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(f, "s")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	ok := map[uint64]bool{}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				flow := uint64(g*1000 + i + 1)
				err := w.Append(&FlowOpen{Flow: flow, Path: strings.Repeat("x", i*3%500)})
				mu.Lock()
				ok[flow] = err == nil
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	w.Close()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	r := Result{}
	walk(bytes.NewReader(b), "s", &r, nil)
	if len(r.Problems) > 0 || r.Torn > 0 {
		t.Fatalf("%+v", r)
	}
	found := 0
	for in := NewScanner(bytes.NewReader(b)); in.Scan(); {
		rec, err := ParseRecord(in.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if rec.Type == TypeFlowOpen {
			found++
			if !ok[rec.Flow] {
				t.Errorf("flow %d was refused but is recorded", rec.Flow)
			}
			delete(ok, rec.Flow)
		}
	}
	for flow, yes := range ok {
		if yes {
			t.Errorf("flow %d was let through but is not recorded", flow)
		}
	}
	if found == 0 || len(ok) == 0 {
		t.Errorf("%d recorded, %d refused: the disk was not filled", found, len(ok))
	}
}

// writerChild records until it is killed, and says of each flow on its standard
// output that Append returned.
func writerChild(dir string) {
	s, err := Open(dir)
	if err != nil {
		panic(err)
	}
	ses, err := s.Create(time.Now())
	if err != nil {
		panic(err)
	}
	w, err := NewWriter(ses.File, ses.ID)
	if err != nil {
		panic(err)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := 1; ; i++ {
				flow := uint64(g)<<32 + uint64(i)
				if err := w.Append(&FlowOpen{Flow: flow, Path: strings.Repeat("p", i%3000)}); err != nil {
					panic(err)
				}
				fmt.Fprintln(os.Stdout, flow)
				w.Note(&FlowClose{Flow: flow})
			}
		})
	}
	wg.Wait()
}

// A writer killed at any moment leaves an unclosed session without a forged
// record, in which is all that it had said to be recorded; and another writer
// can go on.
func TestKilledWriter(t *testing.T) {
	times := 50
	if testing.Short() {
		times = 5
	}
	for i := range times {
		s := newStore(t)
		cmd := exec.Command("/proc/self/exe", s.Dir())
		cmd.Env = append(os.Environ(), childVariable+"=writer")
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// After a random number of records; at once every tenth time, when there may
		// be no file yet.
		said := map[uint64]bool{}
		in := bufio.NewScanner(out)
		hear := func() {
			if n, err := strconv.ParseUint(in.Text(), 10, 64); err == nil {
				said[n] = true
			}
		}
		if i%10 != 0 {
			for n := rand.IntN(300); n >= 0 && in.Scan(); n-- {
				hear()
			}
		}
		cmd.Process.Kill()
		for in.Scan() {
			hear() // what it said before it was killed; the last line may be cut
		}
		cmd.Wait()

		ids, err := s.Sessions()
		if err != nil {
			t.Fatal(err)
		}
		r := verify(t, s, VerifyOptions{})
		if !r.OK() {
			t.Fatalf("kill %d: %+v", i, r)
		}
		for _, res := range r.Sessions {
			if res.State != StateUnclosed {
				t.Fatalf("kill %d: %+v", i, res)
			}
		}
		if len(said) > 0 {
			missing(t, s, ids, said)
		}
		goOn(t, s)
	}
}

// missing fails for each flow that was said to be recorded and is not.
func missing(t *testing.T, s *Store, ids []string, said map[uint64]bool) {
	t.Helper()
	f, err := s.OpenSession(ids[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for in := NewScanner(f); in.Scan(); {
		rec, err := ParseRecord(in.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		delete(said, rec.Flow)
	}
	for flow := range said {
		t.Errorf("flow %d was let through but is not recorded", flow)
	}
}

// goOn closes every session in the dead writers' place.
func goOn(t *testing.T, s *Store) {
	t.Helper()
	ids, err := s.Sessions()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		path, _ := s.Path(id)
		f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		w, err := NewWriter(f, id)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Append(&SessionEnd{Reason: "killed"}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		seq, head := w.Head()
		if err := s.seal(id, seq, head, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	r := verify(t, s, VerifyOptions{})
	if !r.OK() {
		t.Fatalf("after: %+v", r)
	}
	for _, res := range r.Sessions {
		if res.State != StateOK && res.Records > 1 {
			t.Errorf("after: %+v", res)
		}
	}
}
