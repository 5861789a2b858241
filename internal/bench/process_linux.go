package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
)

// enter runs the benchmark again in a user and network namespace of its own,
// with nothing but lo. It reports whether this process is that one.
func enter() (bool, error) {
	if os.Getenv("BENCH_INSIDE") != "" {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return false, err
		}
		return true, netlink.LinkSetUp(lo)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), "BENCH_INSIDE=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	return false, cmd.Run()
}

// bench is the client's side: the other processes and what they share.
type bench struct {
	dir   string
	world *world
	procs map[string]*process
}

type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// start makes certificates and starts origin and proxies.
func start(profile string) (_ *bench, err error) {
	dir, err := os.MkdirTemp("", "penstock-bench")
	if err != nil {
		return nil, err
	}
	b := &bench{dir: dir, procs: map[string]*process{}}
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	if b.world, err = makeWorld(dir); err != nil {
		return nil, err
	}
	for _, role := range []string{"origin", "penstock", "ref-intercept", "ref-relay"} {
		p := &process{cmd: exec.Command("/proc/self/exe")}
		p.cmd.Env = append(os.Environ(), "BENCH_ROLE="+role, "BENCH_DIR="+dir)
		if profile != "" && role != "origin" {
			p.cmd.Env = append(p.cmd.Env, "BENCH_PROFILE="+filepath.Join(profile, role+".pprof"))
		}
		p.cmd.Stderr = os.Stderr
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if p.in, err = p.cmd.StdinPipe(); err != nil {
			return nil, err
		}
		out, err := p.cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		p.out = bufio.NewReader(out)
		if err := p.cmd.Start(); err != nil {
			return nil, err
		}
		b.procs[role] = p
		if line, err := p.out.ReadString('\n'); err != nil || line != "ready\n" {
			return nil, fmt.Errorf("start %s: %q, %v", role, line, err)
		}
	}
	return b, nil
}

func (b *bench) stop() {
	for _, p := range b.procs {
		p.in.Close()
		p.cmd.Wait()
	}
	os.RemoveAll(b.dir)
}

// mostStreams bounds a number of streams by what a process may open: each costs
// the proxy two descriptors.
func mostStreams(n int) int {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil && l.Max < 1<<30 {
		return min(n, (int(l.Max)-300)/2)
	}
	return n
}

// cpu returns the CPU time of a process so far, in seconds.
func (b *bench) cpu(role string) (float64, error) { return b.ask(role, "cpu") }

// memory returns bytes that our proxy holds: "rss" after a collection, "reset" the
// same, from where "peak" then counts.
func (b *bench) memory(what string) (float64, error) { return b.ask("penstock", what) }

func (b *bench) ask(role, what string) (float64, error) {
	p := b.procs[role]
	if p == nil {
		return 0, errors.New("no process " + role)
	}
	if _, err := io.WriteString(p.in, what+"\n"); err != nil {
		return 0, err
	}
	line, err := p.out.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(line), 64)
}

// answer serves the questions of the benchmark until it goes away.
func answer() error {
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if in.Text() != "cpu" {
			if err := answerMemory(in.Text()); err != nil {
				return err
			}
			continue
		}
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			return err
		}
		fmt.Println(float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6)
	}
	return in.Err()
}

func answerMemory(what string) error {
	member := "VmRSS:"
	if what == "peak" {
		member = "VmHWM:"
	} else {
		debug.FreeOSMemory()
	}
	if what == "reset" { // proc(5): the peak is what is held now
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
			return err
		}
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, member); ok {
			kb, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")), 64)
			if err != nil {
				return err
			}
			fmt.Println(kb * 1024)
			return nil
		}
	}
	return errors.New("no " + member + " in /proc/self/status")
}
