// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Steering: every TCP connection made in a pen ends at our listener, whatever
 * address and port it was made to. Attached to the pen's network namespace,
 * where every address is local; the accepted socket's own address is then the
 * one that was asked for. Runs once per connection, before any listener of the
 * tool's is looked for, so that one on a foreign address takes nothing.
 */
#include "kernel.h"

char _license[] SEC("license") = "Dual MIT/GPL";

const volatile __u32 own4 = 0;
const volatile __u32 own6[4] = {0};
const volatile __u16 capture_port = 1;
const volatile __u16 dns_port = 53;

/* 0: the IPv4 listener, 1: the IPv6 one. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} listeners SEC(".maps");

SEC("sk_lookup")
int pen_steer(struct bpf_sk_lookup *ctx)
{
	struct bpf_sock *sk;
	__u32 slot = 0;
	long failed;
	int own;

	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	if (ctx->family == AF_INET) {
		own = host32(ctx->local_ip4) >> 24 == 127 || ctx->local_ip4 == own4;
	} else {
		own = (ctx->local_ip6[0] == 0 && ctx->local_ip6[1] == 0 && ctx->local_ip6[2] == 0 && ctx->local_ip6[3] == net32(1)) ||
		      (ctx->local_ip6[0] == own6[0] && ctx->local_ip6[1] == own6[1] && ctx->local_ip6[2] == own6[2] && ctx->local_ip6[3] == own6[3]);
		slot = 1;
	}
	/* A connection to the capture listener itself has no destination to be
	 * judged by. Dropping it here makes the kernel answer with a reset. */
	if (own)
		return ctx->local_port == capture_port ? SK_DROP : SK_PASS;
	if (ctx->local_port == dns_port)
		return SK_PASS; /* our resolver listens on every address */
	sk = bpf_map_lookup_elem(&listeners, &slot);
	if (!sk)
		return SK_DROP;
	failed = bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	return failed ? SK_DROP : SK_PASS;
}
