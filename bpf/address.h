/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Addresses: what is the pen's own, and what nobody may reach. */
#ifndef PENSTOCK_ADDRESS_H
#define PENSTOCK_ADDRESS_H

#include "kernel.h"

#define MAX_DENIED 65536

/* struct address is 16 bytes in network byte order, IPv4 as ::ffff:a.b.c.d. */
struct address {
	__u32 word[4];
};

struct denied4_key {
	__u32 bits;
	__u32 word;
};

struct denied6_key {
	__u32 bits;
	struct address addr;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_DENIED);
	__type(key, struct denied4_key);
	__type(value, __u8);
} denied4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_DENIED);
	__type(key, struct denied6_key);
	__type(value, __u8);
} denied6 SEC(".maps");

inline_always struct address from4(__u32 word)
{
	struct address a = {{0, 0, net32(0xffff), word}};
	return a;
}

inline_always int is4(const struct address *a)
{
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == net32(0xffff);
}

/* prefix4 tells whether an IPv4 address lies in net/bits, both in host order. */
inline_always int prefix4(__u32 word, __u32 net, int bits)
{
	return (host32(word) ^ net) >> (32 - bits) == 0;
}

inline_always int denied(const struct address *a)
{
	if (is4(a)) {
		struct denied4_key k = {32, a->word[3]};
		return bpf_map_lookup_elem(&denied4, &k) != NULL;
	}
	struct denied6_key k = {128, *a};
	return bpf_map_lookup_elem(&denied6, &k) != NULL;
}

#endif
