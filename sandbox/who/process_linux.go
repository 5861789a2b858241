package who

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/hooks"
)

const (
	maxArgs  = 4 << 10 // bytes of arguments that are kept of one process
	maxChain = 32      // ancestors that are named
	tick     = 10_000_000
)

// process is one of the pen's, held by descriptor: what is read through dir is
// of this process or fails, whoever gets its number.
type process struct {
	pid    int
	dir    int // /proc/PID
	fds    int // /proc/PID/fd
	stat   int // /proc/PID/stat
	uid    int
	parent int // as of the last look
	// hint is the descriptor that a socket was found at last.
	hint int

	now image
	who *hooks.Process // as of now; nil: not read
	sum *hashing       // of now.exe, if it was not there when who was made
	// both is who with Shared, as long as who is of.
	both, of *hooks.Process
}

// image is what changes when a process executes another program.
type image struct {
	start          uint64 // of the process, in ticks since boot
	exe            file
	code, sp, args uint64 // where program, stack and arguments are (0 if we may not know)
}

// file is the identity of an executable.
type file struct{ dev, ino uint64 }

// openProcess opens process pid if it is one of the pen's: in its pid namespace,
// and a process rather than a thread.
func (r *Resolver) openProcess(pid int) (*process, error) {
	r.work += 8
	dir, err := open(unix.AT_FDCWD, "/proc/"+strconv.Itoa(pid), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	p := &process{pid: pid, dir: dir, fds: -1, stat: -1, uid: -1, hint: -1}
	if ours, _ := r.ours(dir, "ns/pid"); !ours {
		p.close()
		return nil, errForeign
	}
	st, err := p.read("status", 4096)
	if err == nil && lineOf(st, "Tgid:") != strconv.Itoa(pid) {
		err = errForeign
	}
	if err == nil {
		if ids := strings.Fields(lineOf(st, "Uid:")); len(ids) > 1 { // real, effective, …
			p.uid, err = strconv.Atoi(ids[1])
		}
	}
	if err == nil {
		p.fds, err = open(dir, "fd", unix.O_RDONLY|unix.O_DIRECTORY)
	}
	if err == nil {
		p.stat, err = open(dir, "stat", unix.O_RDONLY)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// errForeign is a process that isn't the pen's.
var errForeign = errors.New("not a process of the pen")

func (r *Resolver) ours(dir int, name string) (bool, error) {
	var buf [64]byte
	n, err := unix.Readlinkat(dir, name, buf[:])
	return err == nil && string(buf[:n]) == r.namespace, err
}

func (p *process) alive() bool { return unix.Faccessat(p.dir, "stat", unix.F_OK, 0) == nil }

func (p *process) close() {
	for _, fd := range []*int{&p.dir, &p.fds, &p.stat} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

func open(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// read returns the beginning of a file of the process, limit bytes at most.
func (p *process) read(name string, limit int) ([]byte, error) {
	fd, err := open(p.dir, name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	buf := make([]byte, limit)
	got := 0
	for got < limit {
		n, err := unix.Read(fd, buf[got:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		got += n
	}
	return buf[:got], nil
}

// image reads what the process runs now, and its parent's number.
func (p *process) image() (m image, parent int, err error) {
	var buf [1024]byte
	n, err := unix.Pread(p.stat, buf[:], 0)
	if err != nil {
		return m, 0, err
	}
	// The name is the tool's and may hold anything, parentheses too.
	i := bytes.LastIndexByte(buf[:n], ')')
	if i < 0 {
		return m, 0, errors.New("malformed stat")
	}
	field := 2
	rest := buf[i+1 : n]
	for len(rest) > 0 {
		rest = rest[1:]
		end := bytes.IndexAny(rest, " \n")
		if end < 0 {
			end = len(rest)
		}
		v := rest[:end]
		rest = rest[end:]
		switch field++; field { // proc_pid_stat(5)
		case 3:
			if v[0] == 'Z' || v[0] == 'X' {
				return m, 0, unix.ESRCH
			}
		case 4:
			parent = int(number(v))
			p.parent = parent
		case 22:
			m.start = number(v)
		case 26:
			m.code = number(v)
		case 28:
			m.sp = number(v)
		case 48:
			m.args = number(v)
		}
	}
	// Not asked of a file system that may be slow, or the tool's.
	var st unix.Statx_t
	if err := unix.Statx(p.dir, "exe", unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &st); err != nil {
		return m, 0, err
	}
	m.exe = file{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}
	return m, parent, nil
}

func number(b []byte) (n uint64) {
	for _, c := range b {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + uint64(c-'0')
	}
	return n
}

// describe reads who the process is, parents included, depth more of them at
// most. It returns the same value as long as the process runs the same image.
func (r *Resolver) describe(p *process, depth int) (*hooks.Process, error) {
	for range 3 { // it may execute a program meanwhile
		m, parent, err := p.image()
		if err != nil {
			return nil, err
		}
		if p.who != nil && p.now == m && (p.sum == nil || !p.sum.ready()) {
			return p.who, nil
		}
		sum := r.hashes.of(p, m.exe)
		w, err := p.facts()
		if err != nil {
			return nil, err
		}
		w.Start = m.start * tick
		w.Exe.Dev, w.Exe.Ino = m.exe.dev, m.exe.ino
		if parent != r.pen.Init && parent > 1 && depth > 0 {
			if up, err := r.known(parent); err == nil {
				w.Parent, _ = r.describe(up, depth-1) // not known, then
			}
		}
		// A number in it that was another's in between would show here.
		again, parentNow, err := p.image()
		if err != nil {
			return nil, err
		}
		if again != m {
			continue
		}
		if parentNow != parent {
			w.Parent = nil
		}
		switch {
		case sum == nil:
		case sum.ready():
			w.Exe.SHA256, sum = sum.sum, nil
		case r.patient:
			// Better one description with the hash, in a moment, than two.
			r.pending = append(r.pending, sum)
		}
		if p.now, p.sum, p.who = m, sum, w; len(r.pending) > 0 {
			p.who = nil
		}
		return w, nil
	}
	return nil, errors.New("it executes one program after the other")
}

// facts reads what of a process does not tell one image from the next.
func (p *process) facts() (*hooks.Process, error) {
	w := &hooks.Process{PID: p.pid, UID: p.uid}
	var path [4096]byte
	n, err := unix.Readlinkat(p.dir, "exe", path[:])
	if err != nil {
		return nil, err
	}
	w.Exe.Path = string(path[:n])
	args, err := p.read("cmdline", maxArgs+1)
	if err != nil {
		return nil, err
	}
	w.Args = splitArgs(args)
	if group, err := p.read("cgroup", 4096); err == nil {
		w.Cgroup = lineOf(group, "0::")
	}
	return w, nil
}

// splitArgs splits what /proc/PID/cmdline gives; what is cut is marked.
func splitArgs(b []byte) []string {
	cut := len(b) > maxArgs
	if cut {
		b = b[:maxArgs]
	}
	if len(b) == 0 {
		return nil
	}
	args := strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
	if cut {
		args[len(args)-1] += "…"
	}
	return args
}

// lineOf returns what follows key at the beginning of a line.
func lineOf(text []byte, key string) string {
	for line := range bytes.Lines(text) {
		if v, ok := bytes.CutPrefix(line, []byte(key)); ok {
			return string(bytes.TrimSpace(v))
		}
	}
	return ""
}
