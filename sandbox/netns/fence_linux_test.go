package netns

import (
	"iter"
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

// TestFlushedRulesGiveNoWayOut removes the rules, as only the builder could:
// what is left still leads nowhere.
func TestFlushedRulesGiveNoWayOut(t *testing.T) {
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
