package invariants

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/penstock/penstock/e2e/invariants/host"
	"github.com/penstock/penstock/internal/world"
)

// TestInvariant05RecordedBeforeItLeaves: the decision stands in the audit file
// before anything of a request is outside, and without a record nothing leaves.
func TestInvariant05RecordedBeforeItLeaves(t *testing.T) {
	host.ForUsers(t, func(t *testing.T, c *host.Caller) {
		t.Run("before", func(t *testing.T) { recordedBefore(t, c) })
		t.Run("full disk", func(t *testing.T) { fullDisk(t, c) })
	})
}

// recordedBefore reads the audit at the moment in which the first question or
// packet of a flow arrives outside.
func recordedBefore(t *testing.T, old *host.Caller) {
	w := world.New(t)
	c := host.NewCaller(t, w, old.Opts)
	var mu sync.Mutex
	early, seen := []string{}, map[string]int{}
	check := func(moment, name string) {
		// Through the file, as anybody else would: what the writer still holds in
		// memory does not count.
		flows := host.Flows(host.RecordsIn(t, c.AuditDir(), ""), name)
		mu.Lock()
		defer mu.Unlock()
		seen[moment]++
		if len(flows) == 0 || flows[0].Text("verdict") != "allow" {
			early = append(early, fmt.Sprintf("%s of %s: %v", moment, name, flows))
		}
	}
	// Nothing is answered: each flow stands still at its first moment outside.
	origin := func(name string, port uint16) {
		o := w.TCP(name, port, func(net.Conn) { check("connection", name) })
		addrs := []netip.Addr{o.Addr}
		if o.Addr6.IsValid() {
			addrs = append(addrs, o.Addr6)
		}
		w.NameFunc(name, func(int) []netip.Addr {
			check("question", name)
			return addrs
		})
	}
	origin("clear.example.com", 80)
	origin("tls.example.com", 443)
	origin("raw.example.com", 7777)
	origin("unread.example.com", 443)
	c.Rules = []string{
		"{host: clear.example.com}", "{host: tls.example.com}", "{host: raw.example.com, ports: [7777], protocol: tcp}",
		"{host: unread.example.com, inspect: false}",
	}
	r := c.Tool(nil, "fetch", "http://clear.example.com/", "https://tls.example.com/", "http://raw.example.com:7777/", "https://unread.example.com/")
	mu.Lock()
	defer mu.Unlock()
	for _, e := range early {
		t.Errorf("outside before it was recorded: %s", e)
	}
	if seen["connection"] < 4 || seen["question"] < 4 {
		t.Errorf("arrived: %v, want each of four\n%s", seen, r)
	}
}

// fullDisk: the audit's file system fills up while the command makes requests.
func fullDisk(t *testing.T, old *host.Caller) {
	w := world.New(t)
	c := host.NewCaller(t, w, old.Opts)
	disk := w.NewAuditDisk(c.Home, "256k")
	good := w.HTTP("good.example.com", text("good"))
	c.Rules = []string{"{host: good.example.com}"}
	s := c.StartTool(disk.Flags, "flood", "http://good.example.com", "5000")
	s.Expect("flood over")
	out := s.Out.String()
	if !strings.Contains(out, "refused at ") || !strings.Contains(out, " 503 ") || !strings.Contains(out, "audit") {
		t.Errorf("want requests refused for want of a record\n%s", out)
	}
	recorded := len(host.Flows(host.RecordsIn(t, disk.Dir, ""), "good.example.com"))
	if n := good.Hits(); n == 0 || n > recorded {
		t.Errorf("%d requests arrived, %d are recorded", n, recorded)
	}
	// The notice does not come by the way of the answer: it can be later.
	told := func() int { return strings.Count(s.Err.String(), "audit can't be written") }
	host.Until(t, "the notice that the audit can't be written", func() bool { return told() > 0 || s.Over() })
	// With room again it goes on, with the loss recorded.
	disk.Remount("size=4m")
	s.Wait()
	if !strings.Contains(s.Out.String(), "again: 200 good") {
		t.Errorf("with room again\n%s\n%s", s.Out, s.Err)
	}
	// Once each time that writing began to fail. Usually that is one time, but in
	// a file's last page a short record can find room after a long one did not.
	if n := len(host.Types(host.RecordsIn(t, disk.Dir, ""), "loss")); n == 0 || told() != n {
		t.Errorf("the user was told %d times, %d losses are recorded\n%s", told(), n, s.Err)
	}
	if r := c.Other(append([]string{"audit", "verify"}, disk.Flags...)...); r.Code != 0 {
		t.Errorf("audit verify: %s", r)
	}
	if n := good.Hits(); n > len(host.Flows(host.RecordsIn(t, disk.Dir, ""), "good.example.com")) {
		t.Errorf("%d requests arrived, fewer are recorded", n)
	}
}
