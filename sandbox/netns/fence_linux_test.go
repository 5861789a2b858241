package netns

import (
	"flag"
	"io"
	"iter"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/penstock/penstock/sandbox"
)

// commands are the two ways to run a step in a pen.
func commands() iter.Seq2[string, func(testing.TB, ...string) *sandbox.Command] {
	return func(yield func(string, func(testing.TB, ...string) *sandbox.Command) bool) {
		_ = yield("tool", inside) && yield("builder", builder)
	}
}

// TestToolCannotChangeTheNetwork: the nested user namespace owns nothing.
func TestToolCannotChangeTheNetwork(t *testing.T) {
	runSteps(t, inside, []step{
		{"netlink route", "EPERM"},
		{"netlink link", "EPERM"},
		{"netlink down", "EPERM"},
		{"netlink flush", "EPERM"},
		{"netlink nflog", "EPERM"},
		{"links", "lo"},
		{"tcp 93.184.216.34:443 routed", "EPERM"},
		// The kernel lets uid 0 of the host write these without a capability.
		{"write /proc/sys/net/ipv4/ip_unprivileged_port_start 0", "EROFS|EACCES"},
		{"write /proc/sys/net/ipv4/ip_forward 1", "EROFS|EACCES"},
		{"write /proc/sys/net/ipv6/conf/all/disable_ipv6 1", "EROFS|EACCES"},
		{"write /proc/sys/net/netfilter/nf_conntrack_max 1", "EROFS|EACCES"},
		{"tcp 93.184.216.34:443", "captured 93.184.216.34:443"},
	})
}

// TestInvariant02NoUplink: a pen has one link, lo, and no route leads elsewhere.
// Mutation: give the builder another link, or a default route that isn't local.
func TestInvariant02NoUplink(t *testing.T) {
	for name, command := range commands() {
		t.Run(name, func(t *testing.T) {
			p := openPen(t, Options{}, command(t, "links", "routes"))
			got := p.result(t)
			if got[0] != "lo" {
				t.Errorf("links: %s", got[0])
			}
			for route := range strings.SplitSeq(got[1], ", ") {
				if !strings.HasSuffix(route, " lo") {
					t.Errorf("route %q", route)
				}
			}
			if !strings.Contains(got[1], "local 0.0.0.0/0 lo") || !strings.Contains(got[1], "local ::/0 lo") {
				t.Errorf("routes: %s", got[1])
			}
		})
	}
}

// TestInvariant02DeadProxyLetsNothingOut closes every socket that is held
// outside, as the death of the proxy does, while the tool goes on.
// Mutation: let a rule accept TCP or UDP to elsewhere.
func TestInvariant02DeadProxyLetsNothingOut(t *testing.T) {
	steps := []step{
		{"wait", "ok"},
		{"tcp 93.184.216.34:443", "ECONNREFUSED"},
		{"tcp [2606:2800::1]:443", "ECONNREFUSED"},
		{"tcp 8.8.8.8:53", "ECONNREFUSED"},
		{"udp 8.8.8.8:53 connected", "ECONNREFUSED"},
		{"udp 93.184.216.34:443", "EPERM"},
		{"listen 127.0.0.1:1", "EACCES"},
		{"listen 93.184.216.34:1", "EACCES"},
		{"squat 93.184.216.34:8443", "ECONNREFUSED"},
		{"own 127.0.0.1", "ping"},
	}
	var do []string
	for _, s := range steps {
		do = append(do, s.do)
	}
	in, trigger, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer trigger.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := Start("/proc/self/exe", inside(t, do...), [3]*os.File{in, w, w}, Options{})
	in.Close()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s, err := b.Sockets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	trigger.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(steps) {
		t.Fatalf("%s", out)
	}
	for i, s := range steps {
		s.check(t, lines[i])
	}
}

// TestInvariant02FlushedRulesGiveNoWayOut removes the rules, as only the builder could:
// what is left still leads nowhere.
func TestInvariant02FlushedRulesGiveNoWayOut(t *testing.T) {
	runSteps(t, builder, []step{
		{"netlink flush", "ok"},
		{"tcp 93.184.216.34:443", "ECONNREFUSED"},
		{"tcp [2606:2800::1]:443", "ECONNREFUSED"},
		{"udp 93.184.216.34:443 connected", "ECONNREFUSED"},
		{"udp [2606:2800::1]:443 connected", "ECONNREFUSED"},
		{"raw 1 93.184.216.34", "sent"}, // to itself
		// Every address is local, so it meets the listener itself, which knows
		// that nothing was redirected.
		{"tcp 127.0.0.1:1", "not redirected"},
		{"netlink route", "ok"},
		{"tcp 93.184.216.34:443", "ENETUNREACH"},
		{"udp 93.184.216.34:443", "ENETUNREACH"},
		{"links", "lo"},
	})
}

var update = flag.Bool("update", false, "rewrite golden files")

// TestRulesAsText compares the kernel's rules, as nft(8) reads them back, with
// testdata/ruleset.golden: what a reviewer can read.
func TestRulesAsText(t *testing.T) {
	nft := need(t, "nft", "apt-get install nftables")
	if v, err := exec.Command(nft, "--version").Output(); err != nil || !strings.Contains(string(v), "v1.0.6") {
		t.Skipf("written by nftables v1.0.6, here is %s (other versions print rules differently)", v)
	}
	for golden, o := range map[string]Options{"testdata/ruleset.golden": {}, "testdata/steered.golden": {Steered: true}} {
		p := openPen(t, o, &sandbox.Command{Path: nft, Argv: []string{"nft", "-n", "-s", "list", "ruleset"}})
		got := strings.Join(p.result(t), "\n") + "\n"
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", golden, got, want)
		}
	}
}
