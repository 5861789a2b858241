package invariants

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/e2e/invariants/host"
)

// TestInvariant07PrivilegedProcessParsesNoTraffic: in a live session the
// supervisor has no socket of the pen and reads none of its bytes; the process
// that has them has no privilege. (Package lint holds the same in the import
// graph.)
func TestInvariant07PrivilegedProcessParsesNoTraffic(t *testing.T) {
	host.ForUsers(t, func(t *testing.T, c *host.Caller) {
		const size = 16 << 20
		body := strings.Repeat("x", size)
		c.World.HTTPS("big.example.com", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(body)) }))
		c.Rules = []string{"{host: big.example.com}"}
		s := c.StartTool(nil, "hold")
		supervisor, proxy, pen := s.PID(), s.Role(host.Proxy), s.Role(host.Command)
		privileged := map[string]int{"supervisor": supervisor}
		if c.Opts.Supervised {
			privileged["daemon"] = s.Role(host.Daemon)
		}
		s.Expect("holding")

		inner := sockets(t, pen)
		if len(inner) < 4 {
			t.Fatalf("the pen has only these sockets: %v", inner)
		}
		for who, pid := range privileged {
			if held := ofPen(t, pid, inner); len(held) != 0 {
				t.Errorf("the %s holds sockets of the pen: %v", who, held)
			}
		}
		// Only root can look into the proxy: it is not dumpable, so that nobody of
		// the same user can trace it or take its descriptors.
		_, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", proxy))
		open := err == nil
		if !open && !errors.Is(err, fs.ErrPermission) {
			t.Fatal(err)
		}
		if !open {
			t.Log("not root: the proxy can't be looked into")
		} else if held := ofPen(t, proxy, inner); len(held) < 4 {
			t.Errorf("the proxy holds only %v of the pen: the search finds nothing", held)
		}
		// All that they have are unix sockets of the host, and the supervisor two on
		// which the kernel, and nobody else, tells about the pen's connections.
		// Its own table, not ours: our first thread may be in the other namespace.
		before := map[string]int{}
		for who, pid := range privileged {
			local := table(t, pid, "unix", 6)
			for fd, name := range host.Descriptors(t, pid) {
				inode, ok := strings.CutPrefix(name, "socket:[")
				if ok && !slices.Contains(local, strings.TrimSuffix(inode, "]")) && !(pid == supervisor && asksKernel(t, pid, fd)) {
					t.Errorf("the %s's descriptor %d is %s, which is no unix socket of the host's", who, fd, name)
				}
			}
			before[who] = read(t, pid)
		}
		fmt.Fprintln(s.Input(), "fetch https://big.example.com/a https://big.example.com/b")
		host.Until(t, "the fetch", func() bool { return strings.Contains(s.Out.String(), "fetched all") })
		if n := strings.Count(s.Out.String(), " 200 "); n != 2 {
			t.Fatalf("%d of 2 requests were answered", n)
		}
		if open {
			if n := read(t, proxy); n < 2*size {
				t.Errorf("the proxy has read %d bytes of %d: the count shows nothing", n, 2*size)
			}
		}
		// The terminal's bytes are not the supervisor's either: they are pipes here.
		// The tool's executable is what it reads, to name the process.
		exe, err := os.Stat(host.Tool)
		if err != nil {
			t.Fatal(err)
		}
		for who, pid := range privileged {
			most := 1 << 20
			if pid == supervisor {
				most += int(exe.Size())
			}
			if n := read(t, pid) - before[who]; n > most || most >= 2*size {
				t.Errorf("the %s has read %d bytes while %d passed", who, n, 2*size)
			}
		}

		status := host.Status(t, proxy)
		for key, want := range map[string]string{
			"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapAmb": "0000000000000000",
			"NoNewPrivs": "1", "Seccomp": "2",
		} {
			if status[key] != want {
				t.Errorf("the proxy's %s is %s, want %s", key, status[key], want)
			}
		}
		if uid := strings.Fields(status["Uid"])[0]; uid == "0" {
			t.Error("the proxy runs as root")
		}
		if code := s.Wait(); code != 0 {
			t.Errorf("exit %d\n%s", code, s.Err)
		}
	})
}

// sockets returns the inodes of the sockets in a process's network namespace.
func sockets(t *testing.T, pid int) []string {
	t.Helper()
	var out []string
	for name, column := range map[string]int{"tcp": 9, "tcp6": 9, "udp": 9, "udp6": 9} {
		out = append(out, table(t, pid, name, column)...)
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "0" })
}

// table returns a column of one of the kernel's socket tables, without its heading.
func table(t *testing.T, pid int, name string, column int) []string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range strings.Split(strings.TrimSpace(string(b)), "\n")[1:] {
		if f := strings.Fields(l); len(f) > column {
			out = append(out, f[column])
		}
	}
	return out
}

// asksKernel tells whether a descriptor of another process is a netlink socket to
// sock_diag or conntrack.
func asksKernel(t *testing.T, pid, fd int) bool {
	t.Helper()
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	own, err := unix.PidfdGetfd(pidfd, fd, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(own)
	domain, err := unix.GetsockoptInt(own, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || domain != unix.AF_NETLINK {
		return false
	}
	protocol, err := unix.GetsockoptInt(own, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	return err == nil && (protocol == unix.NETLINK_SOCK_DIAG || protocol == unix.NETLINK_NETFILTER)
}

func ofPen(t *testing.T, pid int, inner []string) (held []string) {
	t.Helper()
	for _, name := range host.Descriptors(t, pid) {
		if inode, ok := strings.CutPrefix(name, "socket:["); ok && slices.Contains(inner, strings.TrimSuffix(inode, "]")) {
			held = append(held, name)
		}
	}
	return held
}

// read returns how many bytes a process has read so far, by whatever call.
func read(t *testing.T, pid int) (n int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(b), "rchar: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}
