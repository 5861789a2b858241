package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/gvisor/microvm/guest"
	"github.com/penstock/penstock/gvisor/microvm/image"
	"github.com/penstock/penstock/gvisor/microvm/stack"
)

// Descriptors of QEMU's, behind the usual three.
const (
	fdPort = 3 // the serial port
	fdLink = 4 // the network
)

// arguments are QEMU's: one machine, nothing of the host's but its root, a serial port
// and a link, and QEMU's own seccomp filter over the pen's.
func arguments(m *machine) []string {
	mib := strconv.FormatInt(m.memory>>20, 10)
	accel := m.accel
	if accel == "tcg" {
		accel = "tcg,tb-size=64" // MiB; else a quarter of the host's memory
	}
	return []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-name", "penstock", "-M", "q35,usb=off,vmport=off,smbus=off,hpet=off", "-accel", accel, "-cpu", "max", "-smp", "1", "-m", mib,
		"-kernel", filepath.Join(m.image, image.Kernel), "-initrd", filepath.Join(m.image, image.Initial),
		"-append", "console=ttyS0 quiet panic=-1 reboot=t mitigations=off tsc=reliable no_timer_check random.trust_cpu=on ipv6.disable_ipv6=0 pci=lastbus=0",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-device", "virtio-serial-pci", "-chardev", "socket,id=port,fd=" + strconv.Itoa(fdPort), "-device", "virtserialport,chardev=port,name=penstock",
		"-fsdev", "local,id=root,path=" + m.root + ",security_model=none,multidevs=remap",
		"-device", "virtio-9p-pci,fsdev=root,mount_tag=" + guest.Tag,
		"-netdev", "stream,id=link,addr.type=fd,addr.str=" + strconv.Itoa(fdLink),
		"-device", "virtio-net-pci,netdev=link,romfile=,mac=" + stack.MAC().String() + ",host_mtu=" + strconv.Itoa(stack.MTU),
		"-device", "virtio-rng-pci",
	}
}

// vm is a machine's monitor, running.
type vm struct {
	name    string // of the program, for people
	cmd     *exec.Cmd
	port    *os.File // the serial port
	link    *os.File // the network
	console tail     // what the kernel said
	errors  tail     // what the monitor said
	done    chan struct{}
	err     error // after done
}

// start starts QEMU in a session of its own: what the terminal's keys send is for the
// command.
func start(m *machine) (*vm, error) {
	v := &vm{name: "QEMU", done: make(chan struct{})}
	port, inner, err := pair()
	if err != nil {
		return nil, err
	}
	defer inner.Close()
	link, other, err := pair()
	if err != nil {
		port.Close()
		return nil, err
	}
	defer other.Close()
	v.port, v.link = port, link
	v.cmd = exec.Command(m.qemu, arguments(m)...)
	v.cmd.Env = []string{}
	v.cmd.Stdout, v.cmd.Stderr = &v.console, &v.errors
	v.cmd.ExtraFiles = []*os.File{inner, other}
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	// Its threads' stacks count as its memory.
	var stacks unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_STACK, &stacks) == nil {
		stacks.Cur = min(stacks.Cur, 1<<20)
		unix.Setrlimit(unix.RLIMIT_STACK, &stacks) //nolint:errcheck // then they are larger
	}
	if err := v.cmd.Start(); err != nil {
		port.Close()
		link.Close()
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	go v.wait()
	return v, nil
}

func (v *vm) wait() {
	defer close(v.done)
	v.err = v.cmd.Wait()
}

// end ends the monitor, whatever it does.
func (v *vm) end() {
	v.cmd.Process.Kill() //nolint:errcheck // it has ended
	<-v.done
}

// close ends the machine.
func (v *vm) close() {
	v.end()
	v.port.Close()
	v.link.Close()
}

// pair is two ends of a stream; the first is waited for without a thread.
func pair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "machine"), os.NewFile(uintptr(fds[1]), "qemu"), nil
}

// tail keeps the last of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 4 << 10

var _ io.Writer = (*tail)(nil)

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-tailSize):]
	return len(p), nil
}

// last returns the last few lines, on one, for people: quoted, as a hostile machine
// wrote them.
func (t *tail) last(lines int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := strings.FieldsFunc(string(t.b), func(r rune) bool { return r == '\n' || r == '\r' })
	return strconv.QuoteToASCII(strings.Join(all[max(0, len(all)-lines):], " | "))
}

// why says what became of a machine that ended, or does not answer.
func (v *vm) why() error {
	console := v.console.last(4)
	select {
	case <-v.done:
	default:
		return fmt.Errorf("it said %s", console)
	}
	if text := v.errors.last(3); text != `""` {
		return fmt.Errorf("%s ended (%v): %s", v.name, v.err, text)
	}
	if strings.Contains(console, "Kernel panic") || v.err == nil {
		return fmt.Errorf("its kernel ended: %s", console)
	}
	return fmt.Errorf("%s ended: %w", v.name, v.err)
}
