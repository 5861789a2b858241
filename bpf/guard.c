// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The guard of the proxies: where a proxy process may connect, whatever code
 * runs in it. The proxy parses hostile bytes, so it is taken to be the tool's;
 * its own dial guard can then be gone, this one is the kernel's.
 *
 * Public addresses pass (which of them is the policy's business). The host's
 * loopback, link-local with the metadata services, private and all other special
 * ranges need an entry in the slot's own set. Attached once, to the cgroup above
 * all slots.
 */
#include "address.h"
#include "kernel.h"

char _license[] SEC("license") = "Dual MIT/GPL";

#define MAX_SLOTS 4096

const volatile __u32 slot_level = 0;
const volatile __u8 have_set_retval = 0;

struct slot {
	__u64 denied;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SLOTS);
	__type(key, __u64);
	__type(value, struct slot);
} slots SEC(".maps");

struct allowed_key {
	__u32 bits; /* 96 for what stands before the address, and the prefix's */
	__u32 slot[2];
	__u16 port; /* host byte order, 0: any */
	__u16 family; /* 4 or 6: a range of IPv6 has no IPv4 in it, mapped or not */
	struct address addr;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct allowed_key);
	__type(value, __u8);
} allowed SEC(".maps");

/* What IANA's registries call special, and private (RFC 6890, RFC 1918, RFC 6598). */
inline_always int special4(__u32 word)
{
	return prefix4(word, 0x00000000, 8) || prefix4(word, 0x0a000000, 8) || prefix4(word, 0x64400000, 10) ||
	       prefix4(word, 0x7f000000, 8) || prefix4(word, 0xa9fe0000, 16) || prefix4(word, 0xac100000, 12) ||
	       prefix4(word, 0xc0000000, 24) || prefix4(word, 0xc0a80000, 16) || prefix4(word, 0xc6120000, 15) ||
	       prefix4(word, 0xe0000000, 3);
}

inline_always int special(const struct address *a)
{
	__u32 first = host32(a->word[0]);

	if (is4(a))
		return special4(a->word[3]);
	/* Translated to IPv4 on the way: RFC 6052, RFC 8215, RFC 3056. */
	if (first == 0x0064ff9b && a->word[1] == 0 && a->word[2] == 0)
		return special4(a->word[3]);
	if (first >> 16 == 0x2002)
		return special4(net32(first << 16 | host32(a->word[1]) >> 16));
	if (first == 0x20010000) /* Teredo, RFC 4380 */
		return 1;
	/* Of IPv6 only 2000::/3 is handed out. */
	return first >> 29 != 1;
}

inline_always int guard(struct bpf_sock_addr *ctx, const struct address *a)
{
	struct allowed_key k = {0};
	struct slot *slot;
	__u64 id;

	if (likely(!special(a)))
		return 1;
	id = bpf_get_current_ancestor_cgroup_id(slot_level);
	k.bits = 96 + 128;
	k.slot[0] = id >> 32;
	k.slot[1] = id;
	k.port = host16((__u16)ctx->user_port);
	k.family = is4(a) ? 4 : 6;
	k.addr = *a;
	if (bpf_map_lookup_elem(&allowed, &k))
		return 1;
	k.port = 0;
	if (bpf_map_lookup_elem(&allowed, &k))
		return 1;
	slot = bpf_map_lookup_elem(&slots, &id);
	if (slot)
		__sync_fetch_and_add(&slot->denied, 1);
	if (have_set_retval)
		bpf_set_retval(-EACCES);
	return 0;
}

SEC("cgroup/connect4")
int guard_connect4(struct bpf_sock_addr *ctx)
{
	struct address a = from4(ctx->user_ip4);
	return guard(ctx, &a);
}

SEC("cgroup/connect6")
int guard_connect6(struct bpf_sock_addr *ctx)
{
	struct address a = {{ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}};
	return guard(ctx, &a);
}

SEC("cgroup/sendmsg4")
int guard_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct address a = from4(ctx->user_ip4);
	return guard(ctx, &a);
}

SEC("cgroup/sendmsg6")
int guard_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct address a = {{ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}};
	return guard(ctx, &a);
}

SEC("cgroup/sock_create")
int guard_sock_create(struct bpf_sock *ctx)
{
	struct slot *slot;
	__u64 id;

	if (ctx->type == SOCK_STREAM && (ctx->protocol == IPPROTO_TCP || ctx->protocol == IPPROTO_MPTCP))
		return 1;
	if (ctx->type == SOCK_DGRAM && ctx->protocol == IPPROTO_UDP)
		return 1;
	id = bpf_get_current_ancestor_cgroup_id(slot_level);
	slot = bpf_map_lookup_elem(&slots, &id);
	if (slot)
		__sync_fetch_and_add(&slot->denied, 1);
	return 0;
}
