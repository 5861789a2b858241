// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The pens' socket hooks: refuse early what the fence of the network namespace
 * (sandbox/netns) would refuse, refuse connections to the addresses that are
 * denied to the session, and tell who makes each connection. Attached once, to the
 * cgroup above all sessions.
 *
 * They are a second fence and a witness, not the wall: with all of them
 * detached a pen still has no way out. What they may never do is to let through
 * what the namespace's rules refuse, or to refuse, beside what is said at the
 * places, what those let through.
 *
 * Adversary: a tool that controls every argument of every system call that its
 * seccomp filter lets through, in any number of threads.
 */
#include "address.h"
#include "event.h"
#include "kernel.h"
#include "session.h"

char _license[] SEC("license") = "Dual MIT/GPL";

/* Written by the loader before the programs are verified, constant since. */
const volatile __u32 own4 = 0;            /* the pen's own address, network byte order */
const volatile struct address own6 = {0};
const volatile __u16 capture_port = 1;
const volatile __u16 explicit_port = 808;
const volatile __u16 dns_port = 53;
const volatile __u8 have_set_retval = 0;

/* struct mark says who connected a socket. */
struct mark {
	__u64 session;
	struct event e;
};

/*
 * From connect(2) to the SYN, by socket cookie. Mostly that is one system call;
 * with TCP_FASTOPEN_CONNECT the SYN waits for the first data, which another
 * process may send. Entries of connections that failed in between are thrown out
 * by later ones. (To keep it in the socket itself costs 1 microsecond more.)
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct mark);
} marks SEC(".maps");

/* Sessions whose listeners are open: from then on their ports are nobody else's. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SESSIONS);
	__type(key, __u64);
	__type(value, __u8);
} sealed SEC(".maps");

/*
 * What each session's own connections may not be made to: as many prefixes per
 * session as the loader takes, so that one can't use up what others need. A
 * session's entries are never looked at for another.
 */
#define MAX_DENIED 1024

struct denied_key {
	__u32 bits; /* 96 for what stands before the address, and the prefix's */
	__u32 session[2];
	__u32 family; /* 4 or 6: a range of IPv6 has no IPv4 in it, mapped or not */
	struct address addr;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_SESSIONS * MAX_DENIED);
	__type(key, struct denied_key);
	__type(value, __u8);
} denials SEC(".maps");

inline_always int denied(__u64 id, const struct address *a)
{
	struct denied_key k = {96 + 128, {id >> 32, id}, is4(a) ? 4 : 6, *a};

	return bpf_map_lookup_elem(&denials, &k) != NULL;
}

/* refuse makes the system call fail, with EPERM where the kernel knows no better. */
inline_always int refuse(int errno)
{
	if (have_set_retval)
		bpf_set_retval(-errno);
	return 0;
}

/* own tells whether an address is the pen's own: connections to it are the
 * tool's with itself. The wildcard address means loopback. */
inline_always int own(const struct address *a)
{
	if (is4(a))
		return a->word[3] == 0 || prefix4(a->word[3], 0x7f000000, 8) || a->word[3] == own4;
	if (a->word[0] == 0 && a->word[1] == 0 && a->word[2] == 0)
		return a->word[3] == 0 || a->word[3] == net32(1);
	return a->word[0] == own6.word[0] && a->word[1] == own6.word[1] &&
	       a->word[2] == own6.word[2] && a->word[3] == own6.word[3];
}

/* Multicast and broadcast: refused, as in the namespace's rules, DNS or not. */
inline_always int many(const struct address *a)
{
	if (is4(a))
		return prefix4(a->word[3], 0xe0000000, 4) || a->word[3] == 0xffffffff;
	return (host32(a->word[0]) >> 24) == 0xff;
}

inline_always void report(struct session *s, const struct address *a, __u16 port, __u16 why, __u32 protocol)
{
	struct deny d = {0};

	describe(&d.e, EVENT_DENY);
	__builtin_memcpy(d.target, a, 16);
	d.target_port = port;
	d.why = why;
	d.protocol = protocol;
	count(&s->denied, 1);
	submit(s, &d.e, sizeof(d));
}

/*
 * connect runs with the socket locked (inet_stream_connect, tcp_sendmsg_fastopen,
 * mptcp_connect), so that no other thread's connect comes between it and the
 * hook that takes the mark.
 *
 * A datagram socket may be connected to anything: that sends nothing, and is how
 * programs ask which of their addresses leads to the internet.
 */
inline_always int connect(struct bpf_sock_addr *ctx, const struct address *a)
{
	__u64 id = bpf_get_current_ancestor_cgroup_id(pen_level), cookie;
	struct session *s = bpf_map_lookup_elem(&sessions, &id);
	__u16 port = host16((__u16)ctx->user_port);
	struct mark m;

	if (!s) {
		/* Somebody outside has a socket of a session's: nobody's connection. */
		cookie = bpf_get_socket_cookie(ctx);
		bpf_map_delete_elem(&marks, &cookie);
		return 1;
	}
	if (ctx->type != SOCK_STREAM)
		return 1;
	if (own(a)) {
		/* Of the tool's connections with itself only those that meet us. */
		if (port != explicit_port && port != dns_port)
			return 1;
	} else if (port != dns_port && denied(id, a)) { /* at the other port it meets our resolver */
		report(s, a, port, DENY_ADDRESS, ctx->protocol);
		return refuse(EACCES);
	}
	cookie = bpf_get_socket_cookie(ctx);
	m.session = id;
	describe(&m.e, EVENT_FLOW);
	if (bpf_map_update_elem(&marks, &cookie, &m, 0))
		count(&s->lost, 1); /* the connection will be nobody's */
	return 1;
}

SEC("cgroup/connect4")
int pen_connect4(struct bpf_sock_addr *ctx)
{
	struct address a = from4(ctx->user_ip4);
	return connect(ctx, &a);
}

SEC("cgroup/connect6")
int pen_connect6(struct bpf_sock_addr *ctx)
{
	struct address a = {{ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}};
	return connect(ctx, &a);
}

/* send runs for datagrams with an address of their own. The others are refused
 * by the namespace's rules, and at egress. */
inline_always int send(struct bpf_sock_addr *ctx, const struct address *a)
{
	__u64 id = bpf_get_current_ancestor_cgroup_id(pen_level);
	struct session *s = bpf_map_lookup_elem(&sessions, &id);
	__u16 port = host16((__u16)ctx->user_port);

	if (!s || own(a))
		return 1;
	if (port == dns_port && !many(a))
		return 1;
	report(s, a, port, DENY_DATAGRAM, ctx->protocol);
	return refuse(EACCES);
}

SEC("cgroup/sendmsg4")
int pen_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct address a = from4(ctx->user_ip4);
	return send(ctx, &a);
}

SEC("cgroup/sendmsg6")
int pen_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct address a = {{ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}};
	return send(ctx, &a);
}

/* bind keeps our ports ours once our listeners are open. They are below 1024,
 * so the kernel says the same unless somebody moved that border. */
inline_always int bind(struct bpf_sock_addr *ctx)
{
	__u16 port = host16((__u16)ctx->user_port);
	struct address none = {0};
	struct session *s;
	__u64 id;

	if (port != capture_port && port != explicit_port && port != dns_port)
		return 1;
	id = bpf_get_current_ancestor_cgroup_id(pen_level);
	s = bpf_map_lookup_elem(&sessions, &id);
	if (!s || !bpf_map_lookup_elem(&sealed, &id))
		return 1;
	report(s, &none, port, DENY_BIND, ctx->protocol);
	return refuse(EACCES);
}

SEC("cgroup/bind4")
int pen_bind4(struct bpf_sock_addr *ctx)
{
	return bind(ctx);
}

SEC("cgroup/bind6")
int pen_bind6(struct bpf_sock_addr *ctx)
{
	return bind(ctx);
}

/* The kernel asks for sockets of AF_INET and AF_INET6 only; seccomp refuses the
 * other families. The protocol is the one that was chosen, never 0. */
SEC("cgroup/sock_create")
int pen_sock_create(struct bpf_sock *ctx)
{
	struct deny d = {0};
	struct session *s;
	__u64 id;

	if (ctx->type == SOCK_STREAM && (ctx->protocol == IPPROTO_TCP || ctx->protocol == IPPROTO_MPTCP))
		return 1;
	if (ctx->type == SOCK_DGRAM && ctx->protocol == IPPROTO_UDP)
		return 1;
	id = bpf_get_current_ancestor_cgroup_id(pen_level);
	s = bpf_map_lookup_elem(&sessions, &id);
	if (!s)
		return 1;
	describe(&d.e, EVENT_DENY);
	d.why = DENY_SOCKET;
	d.family = ctx->family;
	d.type = ctx->type;
	d.protocol = ctx->protocol;
	count(&s->denied, 1);
	submit(s, &d.e, sizeof(d));
	return 0; /* EPERM, as seccomp says */
}

/* met tells whether a connection ends at a listener of ours. */
inline_always int met(const struct address *target, __u16 port)
{
	return port == explicit_port || port == dns_port || !own(target);
}

/*
 * pen_connected tells of a connection when its source port is known and before
 * its SYN leaves, so that whoever accepts it can know who it is.
 */
SEC("sockops")
int pen_connected(struct bpf_sock_ops *ctx)
{
	struct flow f = {0};
	struct address source, target;
	struct session *s;
	struct mark *m;
	__u64 id, cookie;

	if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB)
		return 1;
	cookie = bpf_get_socket_cookie(ctx);
	m = bpf_map_lookup_elem(&marks, &cookie);
	if (!m)
		return 1;
	f.e = m->e;
	id = m->session;
	bpf_map_delete_elem(&marks, &cookie);
	s = bpf_map_lookup_elem(&sessions, &id);
	if (!s)
		return 1;
	if (ctx->family == AF_INET) {
		source = from4(ctx->local_ip4);
		target = from4(ctx->remote_ip4);
	} else {
		source.word[0] = ctx->local_ip6[0];
		source.word[1] = ctx->local_ip6[1];
		source.word[2] = ctx->local_ip6[2];
		source.word[3] = ctx->local_ip6[3];
		target.word[0] = ctx->remote_ip6[0];
		target.word[1] = ctx->remote_ip6[1];
		target.word[2] = ctx->remote_ip6[2];
		target.word[3] = ctx->remote_ip6[3];
		/* IPv4 over a socket of the other family: the kernel fills in the
		 * IPv6 fields one by one, the IPv4 ones are there. */
		if (is4(&target)) {
			source = from4(ctx->local_ip4);
			target = from4(ctx->remote_ip4);
		}
	}
	f.source_port = ctx->local_port;
	f.target_port = host32(ctx->remote_port);
	if (!met(&target, f.target_port))
		return 1;
	__builtin_memcpy(f.source, &source, 16);
	__builtin_memcpy(f.target, &target, 16);
	count(&s->flows, 1);
	submit(s, &f.e, sizeof(f));
	return 1;
}

/* struct ends are the ends of a packet, as far as they could be read. */
struct ends {
	struct address source, target;
	__u16 source_port, target_port;
	__u8 protocol;
};

enum { ETH_P_IP = 0x0800, ETH_P_IPV6 = 0x86dd };

inline_always int parse(struct __sk_buff *skb, struct ends *e)
{
	__u8 head[40];
	__u16 ports[2];
	__u32 at;

	if (skb->protocol == net16(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, 0, head, 20))
			return 0;
		e->protocol = head[9];
		e->source = from4(*(__u32 *)(head + 12));
		e->target = from4(*(__u32 *)(head + 16));
		at = (head[0] & 15) * 4;
	} else if (skb->protocol == net16(ETH_P_IPV6)) {
		if (bpf_skb_load_bytes(skb, 0, head, 40))
			return 0;
		e->protocol = head[6]; /* extension headers take CAP_NET_RAW, which no tool has */
		__builtin_memcpy(&e->source, head + 8, 16);
		__builtin_memcpy(&e->target, head + 24, 16);
		at = 40;
	} else {
		return 0;
	}
	if (e->protocol != IPPROTO_UDP && e->protocol != IPPROTO_TCP)
		return 1;
	if (bpf_skb_load_bytes(skb, at, ports, 4))
		return 0;
	e->source_port = host16(ports[0]);
	e->target_port = host16(ports[1]);
	return 1;
}

inline_always struct session *session_of(struct __sk_buff *skb, __u64 *id)
{
	*id = bpf_skb_ancestor_cgroup_id(skb, pen_level);
	return bpf_map_lookup_elem(&sessions, id);
}

inline_always int drop(struct session *s, struct ends *e)
{
	struct deny d = {0};

	/* Packets are also sent when no process of the session runs: not known who. */
	d.e.kind = EVENT_DENY;
	d.e.time = bpf_ktime_get_boot_ns();
	__builtin_memcpy(d.target, &e->target, 16);
	d.target_port = e->target_port;
	d.why = DENY_PACKET;
	d.protocol = e->protocol;
	count(&s->denied, 1);
	submit(s, &d.e, sizeof(d));
	return 0; /* the sender sees EPERM */
}

SEC("cgroup_skb/egress")
int pen_egress(struct __sk_buff *skb)
{
	struct ends e = {0};
	struct session *s;
	__u64 id;

	if (!skb->sk)
		return 1;
	s = session_of(skb, &id);
	if (!s)
		return 1;
	if (!parse(skb, &e))
		return drop(s, &e);
	/*
	 * All TCP passes: where it may go was decided when it was connected, and
	 * where it ends by the namespace. Our end of a connection may be in the
	 * session too (the builder opened the listener): what it sends goes to one
	 * of the pen's own addresses, and is the other end's to count.
	 */
	if (e.protocol == IPPROTO_TCP) {
		if (!own(&e.target) || e.target_port == explicit_port) {
			count(&s->up_bytes, skb->len);
			count(&s->up_packets, 1);
		}
		return 1;
	}
	if (e.protocol == IPPROTO_UDP) {
		if (e.target_port == dns_port && e.source_port != dns_port && !many(&e.target)) {
			count(&s->up_bytes, skb->len);
			count(&s->up_packets, 1);
			return 1;
		}
		/* Answers of our resolver. Nobody else in the pen can have its port. */
		if (e.source_port == dns_port && !many(&e.target))
			return 1;
	}
	if (own(&e.target))
		return 1;
	return drop(s, &e);
}

SEC("cgroup_skb/ingress")
int pen_ingress(struct __sk_buff *skb)
{
	struct ends e = {0};
	struct session *s;
	__u64 id;

	if (!skb->sk)
		return 1;
	s = session_of(skb, &id);
	if (!s || !parse(skb, &e))
		return 1;
	/* The pen has lo, which is 1 in each namespace, and nothing else. */
	if (unlikely(skb->ifindex > 1))
		return drop(s, &e);
	if (e.protocol == IPPROTO_TCP ? !own(&e.source) || e.source_port == explicit_port
				      : e.source_port == dns_port && e.target_port != dns_port) {
		count(&s->down_bytes, skb->len);
		count(&s->down_packets, 1);
	}
	return 1;
}
