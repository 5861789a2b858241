package daemon

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// withFD calls f with file's descriptor, without changing how the file blocks.
func withFD(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// kind is the kernel's name of an open file: "socket:[1]", "net:[2]", or a path
// for everything that has one. It asks no file system, so no FUSE server can
// delay it, and no path looks like the names of what has none: those begin with
// a slash.
func kind(file *os.File) (string, error) {
	var name string
	err := withFD(file, func(fd int) (err error) {
		name, err = os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		return err
	})
	return name, err
}

// errGone says that a process has ended.
var errGone = errors.New("the process has ended")

// process is a process that a pidfd names.
type process struct {
	pidfd *os.File
	pid   int
	dir   *os.File // /proc/PID
}

// openProcess takes over pidfd. Its directory in /proc is opened by number; that
// the pidfd says afterwards that the process lives makes it that process's.
func openProcess(pidfd *os.File) (*process, error) {
	p := &process{pidfd: pidfd}
	name, err := kind(pidfd)
	if err != nil {
		return nil, err
	}
	// "anon_inode:[pidfd]"; "pidfd:[INODE]" since Linux 6.9.
	if name != "anon_inode:[pidfd]" && !strings.HasPrefix(name, "pidfd:[") {
		return nil, errors.New("the descriptor is no pidfd")
	}
	var info []byte
	err = withFD(pidfd, func(fd int) (err error) {
		info, err = os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
		return err
	})
	if err != nil {
		return nil, err
	}
	if p.pid, err = fdinfoPID(string(info)); err != nil {
		return nil, err
	}
	fd, err := unix.Open("/proc/"+strconv.Itoa(p.pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errGone
	}
	p.dir = os.NewFile(uintptr(fd), "process")
	if err := p.alive(); err != nil {
		p.dir.Close()
		return nil, err
	}
	return p, nil
}

// fdinfoPID reads the number out of a pidfd's fdinfo (pidfd_open(2)).
func fdinfoPID(info string) (int, error) {
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, "Pid:"); ok {
			pid, err := strconv.Atoi(strings.TrimSpace(v))
			switch {
			case err != nil:
				return 0, err
			case pid == -1:
				return 0, errGone
			case pid <= 0:
				return 0, errors.New("the process is in a pid namespace that can't be seen from here")
			}
			return pid, nil
		}
	}
	return 0, errors.New("the descriptor is no pidfd")
}

// alive returns errGone when the process has ended, even if nobody has reaped it.
func (p *process) alive() error {
	return withFD(p.pidfd, func(fd int) error {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for {
			n, err := unix.Poll(fds, 0)
			switch {
			case errors.Is(err, unix.EINTR):
			case err != nil:
				return err
			case n != 0:
				return errGone
			default:
				return nil
			}
		}
	})
}

// kill ends the process, if it lives.
func (p *process) kill() {
	withFD(p.pidfd, func(fd int) error { return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) }) //nolint:errcheck // gone is as good
}

func (p *process) close() {
	p.dir.Close()
	p.pidfd.Close()
}

// read returns one small file of the process's directory.
func (p *process) read(name string) (string, error) {
	fd, err := p.open(name)
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	buf := make([]byte, 64<<10)
	n := 0
	for n < len(buf) {
		m, err := f.Read(buf[n:])
		n += m
		if err != nil || m == 0 {
			break
		}
	}
	if n == 0 {
		return "", errGone
	}
	return string(buf[:n]), nil
}

func (p *process) open(name string) (int, error) {
	fd, err := unix.Openat(int(p.dir.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("read %s of process %d: %w", name, p.pid, err)
	}
	return fd, nil
}

// namespace returns the inode number of one of the process's namespaces.
func (p *process) namespace(name string) (uint64, error) {
	buf := make([]byte, 64)
	n, err := unix.Readlinkat(int(p.dir.Fd()), "ns/"+name, buf)
	if err != nil {
		return 0, fmt.Errorf("read namespace %s of process %d: %w", name, p.pid, err)
	}
	return inode(string(buf[:n]))
}

// inode is the number in "net:[4026531840]".
func inode(link string) (uint64, error) {
	_, rest, ok := strings.Cut(link, ":[")
	number, ok2 := strings.CutSuffix(rest, "]")
	if !ok || !ok2 {
		return 0, fmt.Errorf("%.40q is no namespace", link)
	}
	return strconv.ParseUint(number, 10, 64)
}

// facts are what /proc/PID/status says.
type facts struct {
	tgid, ppid int
	uid, gid   [4]int
	nspid      []int
	caps       [5]uint64
	noNewPrivs bool
	seccomp    int
}

func (p *process) facts() (*facts, error) {
	text, err := p.read("status")
	if err != nil {
		return nil, err
	}
	return parseStatus(text)
}

// parseStatus reads /proc/PID/status. The name, its only free text, is on the
// first line, and the kernel escapes line ends in it.
func parseStatus(text string) (*facts, error) {
	f := &facts{tgid: -1, ppid: -1}
	sets := map[string]int{"CapInh": 0, "CapPrm": 1, "CapEff": 2, "CapBnd": 3, "CapAmb": 4}
	seen := 0
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		words := strings.Fields(value)
		var err error
		switch key {
		case "Tgid":
			err = numbers(words, &f.tgid)
		case "PPid":
			err = numbers(words, &f.ppid)
		case "Uid":
			err = numbers(words, &f.uid[0], &f.uid[1], &f.uid[2], &f.uid[3])
		case "Gid":
			err = numbers(words, &f.gid[0], &f.gid[1], &f.gid[2], &f.gid[3])
		case "NSpid":
			f.nspid = make([]int, len(words))
			for i := range words {
				err = errors.Join(err, numbers(words[i:i+1], &f.nspid[i]))
			}
		case "NoNewPrivs":
			var on int
			err = numbers(words, &on)
			f.noNewPrivs = on == 1
		case "Seccomp":
			err = numbers(words, &f.seccomp)
		case "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
			if len(words) != 1 {
				return nil, fmt.Errorf("read process status: %s", key)
			}
			f.caps[sets[key]], err = strconv.ParseUint(words[0], 16, 64)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read process status: %s: %w", key, err)
		}
		seen++
	}
	if seen != 12 {
		return nil, fmt.Errorf("read process status: %d fields, not 12", seen)
	}
	return f, nil
}

func numbers(words []string, to ...*int) (err error) {
	if len(words) != len(to) {
		return fmt.Errorf("%d numbers, not %d", len(words), len(to))
	}
	for i, w := range words {
		if *to[i], err = strconv.Atoi(w); err != nil {
			return err
		}
	}
	return nil
}

// started is when the process began, in the kernel's ticks.
func (p *process) started() (uint64, error) {
	text, err := p.read("stat")
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may hold anything; field 22 counts from before it.
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return 0, errors.New("read process stat: too short")
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// all tells whether a process has one id in all four places.
func all(ids [4]int, id int) bool { return ids == [4]int{id, id, id, id} }
