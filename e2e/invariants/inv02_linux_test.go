package invariants

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/penstock/penstock/e2e/invariants/host"
	"github.com/penstock/penstock/internal/world"
)

// TestInvariant02NoUplink: the pen has no interface, route or socket that leads
// out, and killing Penstock's processes opens nothing.
func TestInvariant02NoUplink(t *testing.T) {
	host.ForUsers(t, func(t *testing.T, c *host.Caller) {
		w := c.World
		good := w.HTTP("good.example.com", text("good"))
		raw := w.TCP("raw.example.com", 7777, func(net.Conn) {})
		c.Rules = []string{"{host: good.example.com}", fmt.Sprintf("{cidr: %s/32, ports: [7777], protocol: tcp}", raw.Addr)}
		s := c.StartTool(nil, "hold")
		in, pid := s.Input(), s.Role(host.Command)
		s.Expect("holding")
		fmt.Fprintln(in, "fetch http://good.example.com/before")
		s.Expect("fetched all")
		if !strings.Contains(s.Out.String(), "/before 200 good") {
			t.Fatalf("an allowed request failed\n%s", s.Out)
		}
		loopbackOnly(t, pid)
		noForeignSocket(t, pid)

		// No supervisor must be there to end the pen: what holds is the pen.
		supervisor, proxy := s.PID(), s.Role(host.Proxy)
		kill(t, supervisor, syscall.SIGSTOP)
		daemon := 0
		if c.Opts.Supervised {
			daemon = s.Role(host.Daemon)
			kill(t, daemon, syscall.SIGSTOP)
		}
		kill(t, proxy, syscall.SIGKILL)
		if j := host.Find(supervisor, host.Janitor); j != 0 {
			kill(t, j, syscall.SIGKILL)
		}
		host.Until(t, "the proxy's end", func() bool { return host.Find(supervisor, host.Proxy) == 0 })
		arrived, asked := len(w.Outside()), len(w.Queries())
		targets := []string{
			good.Addr.String() + ":80", raw.Addr.String() + ":7777", "203.0.113.53:53", "192.0.2.1:9", "192.0.2.2:80", "169.254.169.254:80", "224.0.0.251:5353", "255.255.255.255:67",
		}
		if w.IPv6() {
			targets = append(targets, fmt.Sprintf("[%s]:80", good.Addr6), "[2001:db8:76::1]:9", "[ff02::1]:9")
		}
		fmt.Fprintln(in, "send", strings.Join(targets, " "))
		s.Expect("sent all")
		fmt.Fprintln(in, "fetch http://good.example.com/after http://"+good.Addr.String()+"/after")
		host.Until(t, "the second fetch", func() bool { return strings.Count(s.Out.String(), "fetched all") == 2 })
		if strings.Contains(s.Out.String(), "/after 200") || good.Hits() != 1 || raw.Hits() != 0 {
			t.Errorf("something got out without the proxy\n%s", s.Out)
		}
		if p := w.Outside()[arrived:]; len(p) != 0 {
			t.Errorf("arrived outside after the proxy's end: %v", p)
		}
		if q := w.Queries()[asked:]; len(q) != 0 {
			t.Errorf("DNS was asked after the proxy's end: %v", q)
		}
		// When the supervisor sees it, the command must not go on.
		if daemon != 0 {
			kill(t, daemon, syscall.SIGCONT)
		}
		kill(t, supervisor, syscall.SIGCONT)
		if code := s.Wait(); code != 125 {
			t.Errorf("exit %d after the proxy was killed, want 125\n%s", code, s.Err)
		}
	})
}

func kill(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatalf("signal %d: %v", pid, err)
	}
}

// loopbackOnly reads the pen's interfaces, routes and neighbours back from the kernel.
func loopbackOnly(t *testing.T, pid int) {
	t.Helper()
	read := func(name string) []string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return world.Lines(string(b))
	}
	for _, l := range read("dev")[2:] {
		if name, _, _ := strings.Cut(l, ":"); name != "lo" {
			t.Errorf("the pen has an interface %s", name)
		}
	}
	for _, l := range read("route")[1:] {
		if f := strings.Fields(l); f[0] != "lo" {
			t.Errorf("the pen has a route by %s: %s", f[0], l)
		}
	}
	for _, l := range read("ipv6_route") {
		if f := strings.Fields(l); f[len(f)-1] != "lo" {
			t.Errorf("the pen has a route by %s: %s", f[len(f)-1], l)
		}
	}
	for _, name := range []string{"if_inet6"} {
		for _, l := range read(name) {
			if f := strings.Fields(l); f[len(f)-1] != "lo" {
				t.Errorf("the pen has an address at %s: %s", f[len(f)-1], l)
			}
		}
	}
}

// noForeignSocket looks for descriptors of the command, and of the pen's first
// process, that are sockets of anybody else.
func noForeignSocket(t *testing.T, command int) {
	t.Helper()
	for _, pid := range []int{command, host.Parent(command)} {
		held, own := host.Descriptors(t, pid), ""
		for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
			own += string(b)
		}
		// A connection that the command has closed meanwhile is in no table.
		still := host.Descriptors(t, pid)
		for fd, name := range held {
			if !strings.HasPrefix(name, "socket:") || still[fd] != name {
				continue
			}
			if !strings.Contains(own, " "+strings.Trim(name, "socket:[]")+" ") || pid != command {
				t.Errorf("process %d holds %s as descriptor %d", pid, name, fd)
			}
		}
	}
}
