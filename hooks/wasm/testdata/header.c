/* A hook that says what it has read. */
#include "penstock.h"

static char reason[512];

static void judge(const struct penstock_request *q, struct penstock_decision *d)
{
	struct penstock_text parts[] = {
		q->host, {0, 0}, q->method, q->path, penstock_header(q, "x-a"), penstock_more(q, "size"),
	};
	char *to = reason;

	for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) {
		char plain[256];
		long n;
		if (i)
			*to++ = ' ';
		if (i == 1) {
			to = PENSTOCK_PUT(to, "443");
			if (q->port != 443)
				__builtin_trap();
			continue;
		}
		if (!parts[i].at) {
			to = PENSTOCK_PUT(to, "none");
			continue;
		}
		n = penstock_unescape(parts[i], plain, sizeof plain);
		if (n < 0)
			__builtin_trap();
		to = penstock_put(to, plain, n);
	}
	*to = 0;
	penstock_deny(d, reason);
}
