/*
 * A licence to spend: so many requests, and so many bytes in them, for all hosts that
 * the hook is about together and for the whole session. Needs stateful: true.
 *
 * What a rule can say by itself (budget, see docs/policy.md) is better said there.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "penstock.h"

#ifndef REQUESTS
#define REQUESTS 500
#endif
#ifndef BYTES
#define BYTES (64LL << 20)
#endif

static int64_t requests, bytes;

static void judge(const struct penstock_request *q, struct penstock_decision *d)
{
	int64_t size;

	if (!penstock_is(q->method, "POST"))
		return; /* lists of models and the like cost nothing */
	size = penstock_number(penstock_more(q, "size"));
	if (size < 0) {
		penstock_deny(d, "the length of what is to be paid for is not declared");
		return;
	}
	if (requests >= REQUESTS)
		penstock_deny(d, "the session's requests are spent");
	else if (size > BYTES - bytes)
		penstock_deny(d, "the session's bytes are spent");
	else {
		requests++;
		bytes += size;
	}
}
