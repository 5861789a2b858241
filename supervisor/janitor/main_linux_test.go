package janitor

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox"
)

// told is what the supervisor writes to the janitor's pipe.
func told(t *testing.T, o Orders) []byte {
	t.Helper()
	doc, err := json.Marshal(&o)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(doc))), doc...)
}

// unknown is a pen whose first process was never named.
func unknown() <-chan int {
	c := make(chan int, 1)
	c <- -1
	return c
}

// The janitor removes what was announced first and still is a placeholder, and
// nothing else, whatever follows in the pipe.
func TestTidyRemovesPlaceholdersOnly(t *testing.T) {
	dead, err := os.Open("/dev/null") // always ready, as a dead process's pidfd is
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	dir := t.TempDir()
	place := func(name string, mode os.FileMode) sandbox.Placeholder {
		p := filepath.Join(dir, name)
		if err := os.Mkdir(p, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
		return sandbox.Placeholder{Path: p, Dir: true}
	}
	ours := place("ours", os.ModeSticky|0o555)
	users := place("users", 0o755)
	later := place("later", os.ModeSticky|0o555)
	link := sandbox.Placeholder{Path: filepath.Join(dir, "link"), Dir: true}
	if err := os.Symlink(later.Path, link.Path); err != nil {
		t.Fatal(err)
	}
	missing := sandbox.Placeholder{Path: filepath.Join(dir, "missing"), Dir: true}

	pipe := told(t, Orders{Placeholders: []sandbox.Placeholder{ours, users, link, missing}})
	pipe = append(pipe, told(t, Orders{Placeholders: []sandbox.Placeholder{later}})...)
	if err := tidy(bytes.NewReader(pipe), int(dead.Fd()), unknown()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(ours.Path); !os.IsNotExist(err) {
		t.Errorf("the placeholder is still there: %v", err)
	}
	for _, p := range []sandbox.Placeholder{users, later, link} {
		if _, err := os.Lstat(p.Path); err != nil {
			t.Errorf("removed what was none of its business: %v", err)
		}
	}
}

func TestTidyRefusesGarbage(t *testing.T) {
	for name, pipe := range map[string][]byte{
		"too long":  binary.BigEndian.AppendUint32(nil, maxOrders+1),
		"cut short": {0, 0, 0, 9, '{'},
		"not JSON":  {0, 0, 0, 2, '{', '{'},
	} {
		if err := tidy(bytes.NewReader(pipe), -1, unknown()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := tidy(bytes.NewReader(nil), -1, unknown()); err != nil {
		t.Errorf("nothing planned: %v", err)
	}
}

// A placeholder protects the host from the pen's processes, which may live a
// moment longer than whoever held the pipe.
func TestTidyWaitsForThePen(t *testing.T) {
	place := filepath.Join(t.TempDir(), "place")
	if err := unix.Mkdir(place, 0o555|unix.S_ISVTX); err != nil {
		t.Fatal(err)
	}
	// The last thing that the pen does is to look whether it is still there.
	pen := exec.Command("sh", "-c", `read x; [ -d "$0" ] && echo there`, place)
	var seen bytes.Buffer
	pen.Stdout = &seen
	in, err := pen.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := pen.Start(); err != nil {
		t.Fatal(err)
	}
	pidfd, err := unix.PidfdOpen(pen.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	dead, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()

	// As from a supervisor that named the process and died.
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(pidfd), nil, 0); err != nil {
		t.Fatal(err)
	}
	unix.Close(pair[0])
	defer unix.Close(pair[1])
	first := make(chan int, 1)
	first <- guard(pair[1], 0)

	done := make(chan error, 1)
	pipe := told(t, Orders{Placeholders: []sandbox.Placeholder{{Path: place, Dir: true}}})
	go func() { done <- tidy(bytes.NewReader(pipe), int(dead.Fd()), first) }()
	for len(first) > 0 { // it has come to the wait
		runtime.Gosched()
	}
	in.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := pen.Wait(); err != nil || seen.String() != "there\n" {
		t.Errorf("removed while the pen lived: %v", err)
	}
	if _, err := os.Lstat(place); !os.IsNotExist(err) {
		t.Errorf("still there after the pen: %v", err)
	}
}

// A session may take days: nothing that the role waits for is given up by the
// collector of what nobody has any more.
func TestMindHoldsItsFiles(t *testing.T) {
	files := map[string]*os.File{}
	file := func(name string, fd int) (number int) {
		files[name] = os.NewFile(uintptr(fd), name)
		return fd
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	numbers := []int{file(fileAlive, pipe[0]), file(fileSupervisor, pair[1]), file(filePIDFD, self)}
	done := make(chan error, 1)
	go func(files map[string]*os.File) { done <- mind(files, &roleConfig{}) }(files)
	files = nil
	// The pipe is read once it waits, by then it has all of them by number.
	if _, err := unix.Write(pipe[1], told(t, Orders{Group: t.TempDir()})[:4]); err != nil {
		t.Fatal(err)
	}
	for unread := 4; unread > 0; runtime.Gosched() {
		if unread, err = unix.IoctlGetInt(pipe[1], unix.TIOCINQ); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		runtime.GC()
		swept := make(chan struct{})
		runtime.AddCleanup(new([16]byte), func(c chan struct{}) { close(c) }, swept)
		runtime.GC()
		<-swept
	}
	for _, fd := range numbers {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			t.Errorf("descriptor %d: %v", fd, err)
		}
	}
	unix.Close(pair[0])
	unix.Close(pipe[1])
	if err := <-done; err == nil {
		t.Error("a message that was cut short passed")
	}
}
