package donate

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// ends makes the two ends of a seqpacket connection.
func ends(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn := func(fd int) *net.UnixConn {
		f := os.NewFile(uintptr(fd), "end")
		defer f.Close()
		c, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c.(*net.UnixConn)
	}
	return conn(fds[0]), conn(fds[1])
}

func TestSendAndAccept(t *testing.T) {
	a, b := ends(t)
	if err := Send(a, config{Word: "hello"}, map[string]*os.File{"a": content(t, "A"), "b": content(t, "B")}); err != nil {
		t.Fatal(err)
	}
	var c config
	files, err := Accept(b, &c)
	if err != nil || c.Word != "hello" || len(files) != 2 {
		t.Fatalf("%+v, %v, %v", c, files, err)
	}
	for name, want := range map[string]string{"a": "A", "b": "B"} {
		if got, err := io.ReadAll(files[name]); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		flags, err := unix.FcntlInt(files[name].Fd(), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s is inherited by what this role starts", name)
		}
		files[name].Close()
	}
	a.Close()
	if _, err := Accept(b, &c); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

// TestAcceptRefuses: a hostile sender gets an error, never a wait, and nothing
// of what it sent stays open.
func TestAcceptRefuses(t *testing.T) {
	memory := func(text string, seals int) *os.File {
		fd, err := unix.MemfdCreate("x", unix.MFD_ALLOW_SEALING|unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "x")
		t.Cleanup(func() { f.Close() })
		f.WriteString(text)
		if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
			t.Fatal(err)
		}
		return f
	}
	const sealed = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer w.Close()
	for name, tc := range map[string]struct {
		payload string
		files   []*os.File
	}{
		"no files":      {"\x00", nil},
		"a pipe":        {"\x00", []*os.File{pipe}},
		"a plain file":  {"\x00", []*os.File{content(t, `{"names":[],"config":{}}`)}},
		"not sealed":    {"\x00", []*os.File{memory(`{"names":[],"config":{}}`, unix.F_SEAL_SHRINK)}},
		"not JSON":      {"\x00", []*os.File{memory(`{`, sealed)}},
		"empty":         {"\x00", []*os.File{memory(``, sealed)}},
		"more names":    {"\x00", []*os.File{memory(`{"names":["a"],"config":{}}`, sealed)}},
		"more files":    {"\x00", []*os.File{memory(`{"names":[],"config":{}}`, sealed), content(t, "")}},
		"a name twice":  {"\x00", []*os.File{memory(`{"names":["a","a"],"config":{}}`, sealed), content(t, ""), content(t, "")}},
		"another type":  {"\x00", []*os.File{memory(`{"names":[],"config":[]}`, sealed)}},
		"a long packet": {strings.Repeat("x", 100), []*os.File{memory(`{"names":[],"config":{}}`, sealed)}},
	} {
		a, b := ends(t)
		var fds []int
		for _, f := range tc.files {
			fds = append(fds, int(f.Fd()))
		}
		if _, _, err := a.WriteMsgUnix([]byte(tc.payload), unix.UnixRights(fds...), nil); err != nil {
			t.Fatal(err)
		}
		before := openFiles(t)
		var c config
		if _, err := Accept(b, &c); err == nil {
			t.Errorf("%s: taken", name)
		}
		if n := openFiles(t); n != before {
			t.Errorf("%s: %d descriptors, %d before", name, n, before)
		}
	}
	a, _ := ends(t)
	many := map[string]*os.File{}
	for i := range MaxFiles + 1 {
		many[strings.Repeat("x", i+1)] = w
	}
	if err := Send(a, config{}, many); err == nil {
		t.Error("too many files are sent")
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
