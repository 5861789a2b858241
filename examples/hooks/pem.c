/*
 * Takes private keys in PEM out of requests' bodies: what stands between the lines that
 * begin and end one becomes asterisks. Against accidents: a tool that wants to can encode
 * a key, or split it.
 *
 * A body in which one begins and does not end, or has a quotation mark in it, is denied:
 * it is in pieces, or what ends is another text.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PENSTOCK_BODY
#define PENSTOCK_BODY (4 << 20) /* max_body of the policy */
#endif
#include "penstock.h"

#define MARK(t, i, s) ((i) + sizeof(s) - 1 <= (t).size && penstock_same((t).at + (i), s, sizeof(s) - 1))

/* The end of the line -----WORD ... PRIVATE KEY----- that begins at i, 0 if there is none. */
static size_t line(struct penstock_text t, size_t i, const char *word, size_t size)
{
	static const char end[] = "PRIVATE KEY-----";
	if (i + size > t.size || !penstock_same(t.at + i, word, size))
		return 0;
	for (i += size; i < t.size && (t.at[i] == ' ' || ('A' <= t.at[i] && t.at[i] <= 'Z')); i++)
		if (MARK(t, i, end))
			return i + sizeof end - 1;
	return 0;
}

static void judge(const struct penstock_request *q, struct penstock_decision *d)
{
	static const char begin[] = "-----BEGIN ", end[] = "-----END ";
	struct penstock_body b;
	struct penstock_text t;
	size_t from = 0;
	int changed = 0;

	if (!penstock_body(q, &b))
		return;
	t = (struct penstock_text){b.data, b.size};
	for (size_t i = 0; i < b.size; i++) {
		if (b.data[i] == '"' && from)
			break;
		if (b.data[i] != '-')
			continue;
		if (!from) {
			from = line(t, i, begin, sizeof begin - 1);
			if (from)
				i = from - 1;
		} else if (line(t, i, end, sizeof end - 1)) {
			for (size_t k = from; k < i; k++) {
				changed |= b.data[k] != '*';
				b.data[k] = '*';
			}
			from = 0;
		}
	}
	if (from)
		penstock_deny(d, "a private key in pieces");
	else if (changed)
		penstock_change_body(d, b.data, b.size);
}
