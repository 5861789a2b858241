/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Addresses, and in which ranges they are. */
#ifndef PENSTOCK_ADDRESS_H
#define PENSTOCK_ADDRESS_H

#include "kernel.h"

/* struct address is 16 bytes in network byte order, IPv4 as ::ffff:a.b.c.d. */
struct address {
	__u32 word[4];
};

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

#endif
