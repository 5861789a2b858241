package ebpf

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox/netns"
)

const toolRole = "role:test-tool"

// TestMain lets the test binary be the tool.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case netns.Role:
			os.Exit(netns.Main())
		case toolRole:
			toolMain()
			return
		case daemonRole:
			os.Exit(daemonMain(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

// toolMain does one thing per line and answers with an errno's name, "ok", or
// what it was asked for.
func toolMain() {
	lines := bufio.NewScanner(os.Stdin)
	held := map[string]int{} // descriptors by name
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		answer, err := toolDo(f, held)
		switch {
		case err != nil:
			var errno unix.Errno
			if errors.As(err, &errno) {
				fmt.Println(unix.ErrnoName(errno))
			} else {
				fmt.Println("error: " + err.Error())
			}
		case answer == "":
			fmt.Println("ok")
		default:
			fmt.Println(answer)
		}
	}
}

func toolDo(f []string, held map[string]int) (string, error) {
	switch f[0] {
	case "pid":
		return strconv.Itoa(os.Getpid()), nil
	case "socket": // family type protocol
		fd, err := unix.Socket(number(f[1]), number(f[2]), number(f[3]))
		if err == nil {
			unix.Close(fd)
		}
		return "", err
	case "open": // NAME family type protocol: keeps it
		fd, err := unix.Socket(number(f[2]), number(f[3]), number(f[4]))
		held[f[1]] = fd
		return "", err
	case "use": // NAME connect|send ADDR
		return "", toolUse(held[f[1]], f[2], f[3])
	case "bind", "rebind": // NAME ADDR
		fd := held[f[1]]
		if f[0] == "rebind" {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
				return "", err
			}
		}
		to, err := sockaddr(fd, f[2])
		if err != nil {
			return "", err
		}
		return "", unix.Bind(fd, to)
	case "local": // NAME
		sa, err := unix.Getsockname(held[f[1]])
		if err != nil {
			return "", err
		}
		return text(sa), nil
	case "read": // NAME: one byte
		var b [1]byte
		_, err := unix.Read(held[f[1]], b[:])
		return "", err
	case "close":
		return "", unix.Close(held[f[1]])
	case "fastopen": // NAME ADDR
		fd := held[f[1]]
		to, err := sockaddr(fd, f[2])
		if err != nil {
			return "", err
		}
		return "", unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, to)
	case "defer": // NAME: no SYN before the first data
		return "", unix.SetsockoptInt(held[f[1]], unix.SOL_TCP, unix.TCP_FASTOPEN_CONNECT, 1)
	case "nonblock":
		return "", unix.SetNonblock(held[f[1]], true)
	case "give", "take": // NAME PATH: passes a descriptor through a unix socket
		return "", toolPass(f[0] == "give", f[1], f[2], held)
	case "exec":
		path, err := exec.LookPath(f[1])
		if err != nil {
			return "", err
		}
		for i := range f { // words are cut at spaces
			f[i] = strings.ReplaceAll(f[i], `\t`, "\t")
		}
		return "", unix.Exec(path, f[1:], os.Environ())
	}
	return "", fmt.Errorf("no such command: %s", f[0])
}

func toolUse(fd int, how, addr string) error {
	to, err := sockaddr(fd, addr)
	if err != nil {
		return err
	}
	switch how {
	case "connect":
		return unix.Connect(fd, to)
	case "send":
		return unix.Sendto(fd, []byte("x"), 0, to)
	case "write":
		_, err := unix.Write(fd, []byte("x"))
		return err
	}
	return errors.New(how)
}

func toolPass(give bool, name, path string, held map[string]int) error {
	addr := &unix.SockaddrUnix{Name: path}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if give {
		return unix.Sendmsg(fd, []byte{0}, unix.UnixRights(held[name]), addr, 0)
	}
	if err := unix.Bind(fd, addr); err != nil {
		return err
	}
	// Whoever gives waits for this line.
	fmt.Println("bound")
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 1), oob, 0)
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return err
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	held[name] = fds[0]
	return nil
}

// sockaddr reads addr for a socket's family: IPv4 becomes ::ffff: where it is IPv6.
func sockaddr(fd int, addr string) (unix.Sockaddr, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return nil, err
	}
	if family == unix.AF_INET {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}, nil
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}, nil
}

func text(sa unix.Sockaddr) string {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port)).String()
	}
	return "?"
}

func number(s string) int {
	switch s {
	case "inet":
		return unix.AF_INET
	case "inet6":
		return unix.AF_INET6
	case "stream":
		return unix.SOCK_STREAM
	case "dgram":
		return unix.SOCK_DGRAM
	case "raw":
		return unix.SOCK_RAW
	case "mptcp":
		return unix.IPPROTO_MPTCP
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(s)
	}
	return n
}
