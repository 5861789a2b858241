package netns

import (
	"encoding/binary"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	tableName = "penstock"
	// dropGroup is the NFLOG group that refused packets go to.
	dropGroup = 1
	// dropSnap is how much of a refused packet is reported: an IPv6 header, some
	// extension headers and the ports.
	dropSnap = 128
)

// Values of the kernel's ABI that x/sys/unix lacks.
const (
	ctEstablished = 1 << 1 // NF_CT_STATE_BIT(IP_CT_ESTABLISHED)
	ctRelated     = 1 << 2
	ctInvalid     = 1 << 0
	ctDstNAT      = 1 << 5 // IPS_DST_NAT

	hookInput, hookForward, hookOutput = 1, 2, 3
	natPriority, filterPriority        = -100, 0

	policyDrop, policyAccept = 0, 1
)

// rule is one nftables rule: the step to name when the kernel refuses it, and
// its expressions.
type rule struct {
	step  Step
	exprs []expr.Any
}

// chain is a base chain of the one table.
type chain struct {
	name, kind string
	hook       uint32
	priority   int32
	policy     uint32
	rules      []rule
}

// ruleset is the whole table as a value. Of the two chains that matter:
//
// nat: TCP that isn't for the pen itself or DNS is redirected to the capture port.
// The kernel redirects locally made packets to 127.0.0.1 and ::1.
//
// out sees the packet after that (priority 0 after -100), so it must accept
// both the redirected packet (now to 127.0.0.1) and the answer to it, whose
// source is only written back at POSTROUTING: from 127.0.0.1 to whatever the
// tool's own address is. Accepting by output interface alone or by destination
// alone loses one of the two.
//
// in and forward stay closed to whatever interface somebody may add.
//
// steered: another mechanism (an sk_lookup program attached to this namespace)
// brings connections to the capture listener, so there is no nat, and nothing
// that needs connection tracking. TCP to anywhere is let through to the routing,
// where every address is local: without that mechanism nobody answers.
func ruleset(steered bool) []chain {
	own4, own6 := OwnAddrs()
	own := []rule{
		{StepRules, join(v4dst(255, 0, 0, 0), []byte{127, 0, 0, 0}, accept())},
		{StepRules, join(v6dst(16), loopback6(), accept())},
		{StepRules, join(v4dst(255, 255, 255, 255), own4.AsSlice(), accept())},
		{StepRules, join(v6dst(16), own6.AsSlice(), accept())},
	}
	closed := []rule{
		{StepReject, join(v4dst(240, 0, 0, 0), []byte{224, 0, 0, 0}, refuse(unix.NFT_REJECT_ICMPX_UNREACH))},
		{StepReject, join(v4dst(255, 255, 255, 255), []byte{255, 255, 255, 255}, refuse(unix.NFT_REJECT_ICMPX_UNREACH))},
		{StepReject, join(v6dst(1), []byte{0xff}, refuse(unix.NFT_REJECT_ICMPX_UNREACH))},
	}
	unreachable := []rule{
		// Destination unreachable, which the reject below makes, on its way
		// back to the tool. To forge one takes a raw socket.
		{StepRules, cat(proto(unix.IPPROTO_ICMP), icmpType(3), accept())},
		{StepRules, cat(proto(unix.IPPROTO_ICMPV6), icmpType(1), accept())},
	}
	always := []chain{
		{name: "in", kind: "filter", hook: hookInput, priority: filterPriority, policy: policyDrop, rules: []rule{
			{StepRules, []expr.Any{
				&expr.Meta{Key: expr.MetaKeyIIF, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: appendU32(nil, 1)},
				&expr.Verdict{Kind: expr.VerdictAccept},
			}},
		}},
		{name: "forward", kind: "filter", hook: hookForward, priority: filterPriority, policy: policyDrop},
	}
	if steered {
		return append([]chain{
			{name: "out", kind: "filter", hook: hookOutput, priority: filterPriority, policy: policyDrop, rules: slices.Concat([]rule{
				// A connection made to the capture port itself has no destination to be judged by.
				{StepReject, cat(proto(unix.IPPROTO_TCP), port(2, CapturePort), join(v4dst(255, 0, 0, 0), []byte{127, 0, 0, 0}, refuse(unix.NFT_REJECT_TCP_RST)))},
				{StepReject, cat(proto(unix.IPPROTO_TCP), port(2, CapturePort), join(v6dst(16), loopback6(), refuse(unix.NFT_REJECT_TCP_RST)))},
			}, own, closed, []rule{
				{StepRules, cat(proto(unix.IPPROTO_TCP), accept())},
				{StepRules, cat(proto(unix.IPPROTO_UDP), port(2, DNSPort), accept())},
				// Our answers: nobody else in the pen can bind a port below 1024.
				{StepRules, cat(proto(unix.IPPROTO_UDP), port(0, DNSPort), accept())},
			}, unreachable, []rule{
				{StepReject, refuse(unix.NFT_REJECT_ICMPX_UNREACH)},
			})},
		}, always...)
	}
	return append([]chain{
		{name: "nat", kind: "nat", hook: hookOutput, priority: natPriority, policy: policyAccept, rules: slices.Concat(own, []rule{
			{StepRules, cat(proto(unix.IPPROTO_TCP), port(2, DNSPort), accept())},
			{StepRedirect, cat(proto(unix.IPPROTO_TCP), []expr.Any{
				&expr.Immediate{Register: 1, Data: be16(CapturePort)},
				&expr.Redir{RegisterProtoMin: 1},
			})},
		})},
		{name: "out", kind: "filter", hook: hookOutput, priority: filterPriority, policy: policyDrop, rules: slices.Concat([]rule{
			// First, for all packets but the first of each connection. Related is
			// the reset that refuses a connection made from a foreign address.
			{StepRules, cat(proto(unix.IPPROTO_TCP), state(ctEstablished|ctRelated), accept())},
			// A connection made to the capture port itself has no destination to be judged by.
			{StepReject, cat(proto(unix.IPPROTO_TCP), port(2, CapturePort), []expr.Any{
				&expr.Ct{Register: 1, Key: expr.CtKeySTATUS},
				mask32(ctDstNAT),
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, 4)},
			}, refuse(unix.NFT_REJECT_TCP_RST))},
		}, own, []rule{
			// Stray ends of connections that conntrack has forgotten: not an
			// attempt to go anywhere, so neither let through nor reported.
			{StepRules, cat(proto(unix.IPPROTO_TCP), state(ctInvalid), drop())},
		}, closed, []rule{
			{StepRules, cat(proto(unix.IPPROTO_TCP), port(2, DNSPort), accept())},
			{StepRules, cat(proto(unix.IPPROTO_UDP), port(2, DNSPort), accept())},
			// Our answers: nobody else in the pen can bind a port below 1024.
			{StepRules, cat(proto(unix.IPPROTO_UDP), port(0, DNSPort), state(ctEstablished), accept())},
		}, unreachable, []rule{
			{StepReject, cat(proto(unix.IPPROTO_TCP), refuse(unix.NFT_REJECT_TCP_RST))},
			{StepReject, refuse(unix.NFT_REJECT_ICMPX_UNREACH)},
		})},
	}, always...)
}

func accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }
func drop() []expr.Any   { return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}} }

func cat(parts ...[]expr.Any) []expr.Any {
	var out []expr.Any
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// join is match, "== data", then.
func join(match []expr.Any, data []byte, then []expr.Any) []expr.Any {
	return cat(match, []expr.Any{&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data}}, then)
}

func proto(p byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p}},
	}
}

// port matches the port at offset in the TCP or UDP header: 0 source, 2 destination.
func port(offset uint32, p uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: be16(p)},
	}
}

func icmpType(t byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{t}},
	}
}

func state(bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		mask32(bits),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// mask32 keeps bits of a host-endian word in register 1.
func mask32(bits uint32) expr.Any {
	return &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4,
		Mask: binary.NativeEndian.AppendUint32(nil, bits), Xor: make([]byte, 4)}
}

func v4dst(mask ...byte) []expr.Any {
	m := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
	}
	return append(m, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)})
}

// v6dst loads the first n bytes of the IPv6 destination.
func v6dst(n uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV6}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: n},
	}
}

func loopback6() []byte { b := make([]byte, 16); b[15] = 1; return b }

// refuse counts the packet, reports it and answers it. In the output hook the
// sender's system call fails with EPERM as well, which is what makes a QUIC
// client fall back at once even where ICMP can't be sent (multicast).
func refuse(kind uint32) []expr.Any {
	r := &expr.Reject{Type: kind}
	if kind == unix.NFT_REJECT_ICMPX_UNREACH {
		r.Code = unix.NFT_REJECT_ICMPX_PORT_UNREACH
	}
	return []expr.Any{
		&expr.Counter{},
		&expr.Log{Key: 1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_SNAPLEN, Group: dropGroup, Snaplen: dropSnap},
		r,
	}
}

// installRules makes the table in one transaction: all of it or nothing.
func installRules(chains []chain) error {
	const nft = unix.NFNL_SUBSYS_NFTABLES << 8
	fd, err := netlinkSocket(unix.NETLINK_NETFILTER, StepNftables)
	if err != nil {
		return err
	}
	defer unix.Close(fd)

	var b batch
	header := func(family byte, resource uint16) { // struct nfgenmsg
		b.buf = binary.BigEndian.AppendUint16(append(b.buf, family, unix.NFNETLINK_V0), resource)
	}
	b.begin(StepNftables, unix.NFNL_MSG_BATCH_BEGIN, 0)
	header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	b.end()
	b.begin(StepNftables, nft|unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE)
	header(unix.NFPROTO_INET, 0)
	b.attr(unix.NFTA_TABLE_NAME, cstr(tableName))
	b.end()
	for _, c := range chains {
		step := StepRules
		if c.kind == "nat" {
			step = StepNAT
		}
		b.begin(step, nft|unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE)
		header(unix.NFPROTO_INET, 0)
		b.attr(unix.NFTA_CHAIN_TABLE, cstr(tableName))
		b.attr(unix.NFTA_CHAIN_NAME, cstr(c.name))
		b.nest(unix.NFTA_CHAIN_HOOK, func() {
			b.attr(unix.NFTA_HOOK_HOOKNUM, be32(c.hook))
			b.attr(unix.NFTA_HOOK_PRIORITY, be32(uint32(c.priority)))
		})
		b.attr(unix.NFTA_CHAIN_POLICY, be32(c.policy))
		b.attr(unix.NFTA_CHAIN_TYPE, cstr(c.kind))
		b.end()
	}
	rules := 0
	for _, c := range chains {
		rules += len(c.rules)
	}
	last := uint32(0)
	for _, c := range chains {
		for _, r := range c.rules {
			flags := uint16(unix.NLM_F_CREATE | unix.NLM_F_APPEND)
			if rules--; rules == 0 {
				// Errors are answered for any message; success is wanted once.
				flags |= unix.NLM_F_ACK
			}
			b.begin(r.step, nft|unix.NFT_MSG_NEWRULE, flags)
			header(unix.NFPROTO_INET, 0)
			b.attr(unix.NFTA_RULE_TABLE, cstr(tableName))
			b.attr(unix.NFTA_RULE_CHAIN, cstr(c.name))
			var fault error
			b.nest(unix.NFTA_RULE_EXPRESSIONS, func() {
				for _, e := range r.exprs {
					raw, err := expr.Marshal(unix.NFPROTO_INET, e)
					if err != nil {
						fault = err
					}
					b.nest(unix.NFTA_LIST_ELEM, func() { b.buf = pad4(append(b.buf, raw...)) })
				}
			})
			if fault != nil {
				return &stepError{Step: r.step, Err: fault}
			}
			b.end()
			last = uint32(len(b.steps))
		}
	}
	b.begin(StepNftables, unix.NFNL_MSG_BATCH_END, 0)
	header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	b.end()
	return b.send(fd, last)
}
