/*
 * A hook of Penstock in C, as a WebAssembly module; see docs/hooks.md.
 *
 * Include it in one file and write judge(), which decides about one request:
 *
 *     #include "penstock.h"
 *
 *     static void judge(const struct penstock_request *q, struct penstock_decision *d)
 *     {
 *             if (penstock_is(q->method, "DELETE"))
 *                     penstock_deny(d, "nothing is deleted from here");
 *     }
 *
 * It needs no library: clang --target=wasm32 -O2 -mbulk-memory -nostdlib
 * -Wl,--no-entry -o hook.wasm hook.c
 *
 * What is not decided is next. A question that can't be read has no answer, which
 * denies. All text is as it stands in the question's JSON, between the quotation
 * marks: escaped, so that a quotation mark is \" and < may be \u003c. What has an
 * escape can be refused by penstock_plain, or read by penstock_unescape.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PENSTOCK_H
#define PENSTOCK_H

#include <stddef.h>
#include <stdint.h>

#define PENSTOCK_EXPORT(name) __attribute__((export_name(name), used))

/*
 * Bytes that the longest body may have that judge reads (penstock_body) or makes, at
 * most 8 MiB; 64 KiB is what a part of a stream may have. Three buffers are as long.
 */
#ifndef PENSTOCK_BODY
#define PENSTOCK_BODY 0
#endif

#define PENSTOCK_BASE64(n) (((n) + 2) / 3 * 4)

#ifndef PENSTOCK_QUESTION /* bytes that the longest question may have */
#define PENSTOCK_QUESTION ((1 << 18) + PENSTOCK_BASE64(PENSTOCK_BODY))
#endif

#ifndef PENSTOCK_ANSWER /* bytes that the longest answer may have */
#define PENSTOCK_ANSWER (2048 + PENSTOCK_BASE64(PENSTOCK_BODY))
#endif

#ifndef PENSTOCK_CHANGES /* header fields that one answer may change, at most 32 */
#define PENSTOCK_CHANGES 32
#endif

/* Bytes of the question; nothing if at is 0. */
struct penstock_text {
	const char *at;
	size_t size;
};

/*
 * What comes before the header is read for each question; the header and what comes
 * after it only for who asks: penstock_header, penstock_more. At the point connect
 * there is no request: method, path and query are nothing; at dns there is only a host,
 * and at session_start and session_end no target at all.
 */
struct penstock_request {
	struct penstock_text id, point, session, protocol, host, address, method, path, query;
	uint32_t port;
	struct penstock_text rest; /* "headers":{...},... or "process", "run", "lookup" up to the end */
};

struct penstock_decision {
	const char *word;	/* "next", "deny", "ask" or "route"; 0: see penstock_raw */
	const char *reason;	/* a line of ASCII, or 0 */
	const char *via;	/* of "route", else 0 */
	size_t raw;
	const char *body;	/* of "next": see penstock_change_body; 0: it stays */
	size_t body_size;
	size_t changes;		/* of "next": see penstock_set */
	struct {
		const char *name, *value; /* value 0: it is removed */
	} change[PENSTOCK_CHANGES];
};

static void judge(const struct penstock_request *q, struct penstock_decision *d);

/* Whatever judge says, there is no answer, which denies. */
static int penstock_failed;

static char penstock_out[PENSTOCK_ANSWER];

/* The answer is so many bytes that judge wrote into penstock_out, a reply for example. */
static inline void penstock_raw(struct penstock_decision *d, size_t size)
{
	d->word = 0;
	d->raw = size;
}

/*
 * The header field leaves with this value, or, if it is 0, not at all; at the point
 * request. All of it must have room in PENSTOCK_ANSWER: else there is no answer.
 */
static inline void penstock_set(struct penstock_decision *d, const char *name, const char *value)
{
	if (d->changes == PENSTOCK_CHANGES) {
		penstock_raw(d, 0);
		return;
	}
	d->change[d->changes].name = name;
	d->change[d->changes++].value = value;
}

/* The header field does not leave. */
static inline void penstock_remove(struct penstock_decision *d, const char *name)
{
	penstock_set(d, name, 0);
}

/*
 * This body is passed on in the place of the one that was asked about, at request_body and
 * response_body, where the question's has room (change: body). It is read when judge is
 * done, and may be penstock_body's own, changed; it has at most PENSTOCK_BODY bytes.
 */
static inline void penstock_change_body(struct penstock_decision *d, const char *data, size_t size)
{
	if (!data || size > (PENSTOCK_BODY))
		penstock_failed = 1;
	d->body = data;
	d->body_size = size;
}

static inline void penstock_deny(struct penstock_decision *d, const char *reason)
{
	d->word = "deny";
	d->reason = reason;
}

/* It leaves by an upstream, or "direct". */
static inline void penstock_route(struct penstock_decision *d, const char *via)
{
	d->word = "route";
	d->via = via;
}

/* A person is asked what becomes of the request. */
static inline void penstock_ask(struct penstock_decision *d, const char *reason)
{
	d->word = "ask";
	d->reason = reason;
}

static inline size_t penstock_length(const char *s)
{
	size_t n = 0;
	while (s[n])
		n++;
	return n;
}

static inline int penstock_same(const char *a, const char *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (a[i] != b[i])
			return 0;
	return 1;
}

/* Whether t is s. */
static inline int penstock_is(struct penstock_text t, const char *s)
{
	size_t n = penstock_length(s);
	return t.at && t.size == n && penstock_same(t.at, s, n);
}

/* Whether t begins with s. */
static inline int penstock_begins(struct penstock_text t, const char *s)
{
	size_t n = penstock_length(s);
	return t.at && t.size >= n && penstock_same(t.at, s, n);
}

/* Whether t ends with s. */
static inline int penstock_ends(struct penstock_text t, const char *s)
{
	size_t n = penstock_length(s);
	return t.at && t.size >= n && penstock_same(t.at + t.size - n, s, n);
}

/* Whether s is somewhere in t. */
static inline int penstock_has(struct penstock_text t, const char *s)
{
	size_t n = penstock_length(s);
	for (size_t i = 0; n && i + n <= t.size; i++)
		if (t.at[i] == s[0] && penstock_same(t.at + i, s, n))
			return 1;
	return 0;
}

/* Whether t is there and has no escape, so that its bytes are what leaves. */
static inline int penstock_plain(struct penstock_text t)
{
	for (size_t i = 0; i < t.size; i++)
		if (t.at[i] == '\\')
			return 0;
	return t.at != 0;
}

/*
 * The end of the string that begins behind a quotation mark, 0 if it has none. A
 * JSON string holds no control characters, so there is no end but the mark.
 */
static inline const char *penstock_string_end(const char *p, const char *end)
{
	for (; p < end; p++) {
		if (*p == '"')
			return p;
		if (*p == '\\')
			p++;
	}
	return 0;
}

/* The end of the value that begins at p, 0 if it has none. */
static inline const char *penstock_value_end(const char *p, const char *end)
{
	int depth = 0;
	for (; p < end; p++) {
		switch (*p) {
		case '"':
			p = penstock_string_end(p + 1, end);
			if (!p)
				return 0;
			if (!depth)
				return p + 1;
			break;
		case '{':
		case '[':
			depth++;
			break;
		case '}':
		case ']':
			if (!depth)
				return p;
			if (!--depth)
				return p + 1;
			break;
		case ',':
			if (!depth)
				return p;
		}
	}
	return 0;
}

/*
 * The next member of an object or element of a list, from *p, which is behind the
 * opening bracket at first; without quotation marks if it is a string. 0 at the
 * end; a key may be 0 in a list. The JSON is Penstock's own: it has no blanks.
 */
static inline int penstock_next(const char **p, const char *end, struct penstock_text *key, struct penstock_text *value)
{
	const char *at = *p, *stop;

	if (at < end && *at == ',')
		at++;
	if (at >= end || *at == '}' || *at == ']')
		return 0;
	if (key) {
		stop = *at == '"' ? penstock_string_end(at + 1, end) : 0;
		if (!stop || stop + 1 >= end || stop[1] != ':')
			return 0;
		key->at = at + 1;
		key->size = stop - at - 1;
		at = stop + 2;
	}
	stop = penstock_value_end(at, end);
	if (!stop || stop == at)
		return 0;
	*p = stop;
	if (*at == '"') {
		at++;
		stop--;
	}
	value->at = at;
	value->size = stop - at;
	return 1;
}

/*
 * A member of the question that is its header or comes after it: "headers", "size",
 * "process", "response", "message", "tool", "run", "lookup"; at is 0 if there is none.
 */
static inline struct penstock_text penstock_more(const struct penstock_request *q, const char *name)
{
	struct penstock_text key, value;
	const char *p = q->rest.at, *end = q->rest.at + q->rest.size;

	while (penstock_next(&p, end, &key, &value))
		if (penstock_is(key, name))
			return value;
	return (struct penstock_text){0, 0};
}

/* The first value of a header field, whose name is in lower case; else at is 0. */
static inline struct penstock_text penstock_header(const struct penstock_request *q, const char *name)
{
	struct penstock_text headers = penstock_more(q, "headers"), key, list, value = {0, 0};
	const char *p = headers.at + 1, *end = headers.at + headers.size;

	while (headers.at && penstock_next(&p, end, &key, &list)) {
		if (!penstock_is(key, name))
			continue;
		p = list.at + 1;
		if (!penstock_next(&p, list.at + list.size, 0, &value))
			value.at = 0;
		break;
	}
	return value;
}

/* A number that is not negative; -1 if it is none. */
static inline int64_t penstock_number(struct penstock_text t)
{
	int64_t n = 0;
	for (size_t i = 0; i < t.size; i++) {
		if (t.at[i] < '0' || t.at[i] > '9' || n > INT64_MAX / 10 - 10)
			return -1;
		n = n * 10 + (t.at[i] - '0');
	}
	return t.size ? n : -1;
}

static inline int penstock_hex(char c)
{
	if ('0' <= c && c <= '9')
		return c - '0';
	c |= 0x20;
	return 'a' <= c && c <= 'f' ? c - 'a' + 10 : -1;
}

/*
 * Writes what t means into to and returns its size, or -1 if there is no room. Of
 * \u only ASCII is read, anything else is a question mark.
 */
static inline long penstock_unescape(struct penstock_text t, char *to, size_t room)
{
	size_t n = 0;
	for (size_t i = 0; i < t.size; i++) {
		char c = t.at[i];
		if (n >= room)
			return -1;
		if (c == '\\' && i + 1 < t.size) {
			c = t.at[++i];
			switch (c) {
			case 'n': c = '\n'; break;
			case 't': c = '\t'; break;
			case 'r': c = '\r'; break;
			case 'b': c = '\b'; break;
			case 'f': c = '\f'; break;
			case 'u': {
				int v = 0;
				for (int k = 0; k < 4 && i + 1 < t.size; k++)
					v = v << 4 | penstock_hex(t.at[++i]);
				c = v > 0 && v < 0x80 ? v : '?';
			}
			}
		}
		to[n++] = c;
	}
	return n;
}

static const char penstock_letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Writes what base64 says into to and returns its size; -1 if it is none, or has no room. */
static inline long penstock_decode64(struct penstock_text t, char *to, size_t room)
{
	static uint8_t six[256]; /* of a letter, and one; 0 of what is none */
	const uint8_t *p = (const uint8_t *)t.at;
	size_t size = t.size / 4 * 3;

	for (int i = 0; i < 64; i++)
		six[(uint8_t)penstock_letters[i]] = i + 1;
	if (t.size % 4)
		return -1;
	if (t.size && p[t.size - 1] == '=')
		size -= p[t.size - 2] == '=' ? 2 : 1;
	if (size > room)
		return -1;
	for (size_t n = 0; n < size; n += 3, p += 4) {
		uint32_t a = six[p[0]], b = six[p[1]], c = six[p[2]], e = six[p[3]], v;
		if (!a || !b || (!c && n + 1 < size) || (!e && n + 2 < size))
			return -1;
		v = (a - 1) << 18 | (b - 1) << 12 | (c ? c - 1 : 0) << 6 | (e ? e - 1 : 0);
		to[n] = v >> 16;
		if (n + 1 < size)
			to[n + 1] = v >> 8;
		if (n + 2 < size)
			to[n + 2] = v;
	}
	return size;
}

/* Copies bytes as base64, and returns where the next goes. */
static inline char *penstock_encode64(char *to, const char *from, size_t size)
{
	const uint8_t *p = (const uint8_t *)from;

	for (size_t i = 0; i < size; i += 3, p += 3, to += 4) {
		uint32_t v = p[0] << 16 | (i + 1 < size ? p[1] << 8 : 0) | (i + 2 < size ? p[2] : 0);
		to[0] = penstock_letters[v >> 18];
		to[1] = penstock_letters[v >> 12 & 63];
		to[2] = i + 1 < size ? penstock_letters[v >> 6 & 63] : '=';
		to[3] = i + 2 < size ? penstock_letters[v & 63] : '=';
	}
	return to;
}

/* A body, or a message of a WebSocket, or a part of one. */
struct penstock_body {
	char *data;	/* judge may write to it */
	size_t size;
	int64_t offset; /* of data in the body */
	int64_t seen;	/* first bytes of data that were in the question before */
	int64_t room;	/* bytes that penstock_change_body may have; 0: it can't be changed */
	int last;	/* nothing comes behind it */
	struct penstock_text encoding; /* that data still is in; at is 0 for none */
};

/*
 * Reads the body that the question is about, decoded, into b. 0: there is none. A body of
 * more than PENSTOCK_BODY bytes has no answer, whatever judge says then.
 */
static inline int penstock_body(const struct penstock_request *q, struct penstock_body *b)
{
	/* Not in the question's place: what is read there behind it would be the body's bytes. */
	static char data[(PENSTOCK_BODY) + 1];
	struct penstock_text object = penstock_more(q, "body"), key, value;
	const char *p = object.at + 1, *end = object.at + object.size;
	int64_t n;

	*b = (struct penstock_body){.data = data};
	if (!object.at)
		return 0;
	while (penstock_next(&p, end, &key, &value)) {
		n = penstock_number(value);
		if (penstock_is(key, "data")) {
			long size = penstock_decode64(value, data, PENSTOCK_BODY);
			if (size < 0)
				penstock_failed = 1;
			else
				b->size = size;
		} else if (penstock_is(key, "offset"))
			b->offset = n;
		else if (penstock_is(key, "seen"))
			b->seen = n;
		else if (penstock_is(key, "room"))
			b->room = n;
		else if (penstock_is(key, "last"))
			b->last = penstock_is(value, "true");
		else if (penstock_is(key, "encoding"))
			b->encoding = value;
	}
	data[b->size] = 0; /* for who reads it as a string */
	return 1;
}

static char penstock_in[PENSTOCK_QUESTION];

PENSTOCK_EXPORT("penstock_version") uint32_t penstock_version(void)
{
	return 1;
}

PENSTOCK_EXPORT("penstock_alloc") char *penstock_alloc(uint32_t size)
{
	return size <= sizeof penstock_in ? penstock_in : 0;
}

/* Copies text, and returns where the next goes. */
static inline char *penstock_put(char *to, const char *s, size_t n)
{
	__builtin_memcpy(to, s, n);
	return to + n;
}

#define PENSTOCK_PUT(to, literal) penstock_put(to, literal, sizeof(literal) - 1)

/* A string of JSON; 0 if there is no room before end, or for to = 0. */
static inline char *penstock_quote(char *to, const char *end, const char *s)
{
	if (!to || end - to < 2)
		return 0;
	*to++ = '"';
	for (; *s; s++) {
		if (end - to < 3)
			return 0;
		if (*s == '"' || *s == '\\')
			*to++ = '\\';
		*to++ = *s;
	}
	*to++ = '"';
	return to;
}

/* The members of an answer that are about header fields; 0 if there is no room. */
static inline char *penstock_changes(char *to, const char *end, const struct penstock_decision *d)
{
	for (int removed = 0; removed < 2; removed++) {
		if (end - to < 16)
			return 0;
		to = removed ? PENSTOCK_PUT(to, ",\"remove\":[") : PENSTOCK_PUT(to, ",\"set\":{");
		char more = 0;
		for (size_t i = 0; i < d->changes; i++) {
			if (removed == !!d->change[i].value)
				continue;
			if (more)
				*to++ = ',';
			more = 1;
			to = penstock_quote(to, end, d->change[i].name);
			if (to && !removed) {
				*to++ = ':';
				to = penstock_quote(to, end, d->change[i].value);
			}
			if (!to || end - to < 16)
				return 0;
		}
		*to++ = removed ? ']' : '}';
	}
	return to;
}

/* Whether t begins with what is read only for who asks. */
static inline int penstock_rest(struct penstock_text t)
{
	return penstock_begins(t, ",\"headers\":") || penstock_begins(t, ",\"process\":") ||
	       penstock_begins(t, ",\"run\":") || penstock_begins(t, ",\"lookup\":");
}

/* Whether there is no request at the point. */
static inline int penstock_unasked(struct penstock_text point)
{
	return penstock_is(point, "connect") || penstock_is(point, "dns") ||
	       penstock_is(point, "session_start") || penstock_is(point, "session_end");
}

PENSTOCK_EXPORT("penstock_decide") uint64_t penstock_decide(const char *at, uint32_t size)
{
	struct penstock_request q = {.port = 0};
	struct penstock_decision d = {.word = "next"};
	struct penstock_text key, value;
	const char *p = at + 1, *end = at + size;
	char *to = penstock_out, *stop = penstock_out + sizeof penstock_out;

	penstock_failed = 0;
	while (!penstock_rest((struct penstock_text){p, end - p}) && penstock_next(&p, end, &key, &value)) {
		switch (key.at[0]) {
		case 'i': if (penstock_is(key, "id")) q.id = value; break;
		case 'q': if (penstock_is(key, "query")) q.query = value; break;
		case 'm': if (penstock_is(key, "method")) q.method = value; break;
		case 'a': if (penstock_is(key, "address")) q.address = value; break;
		case 's': if (penstock_is(key, "session")) q.session = value; break;
		case 'h': if (penstock_is(key, "host")) q.host = value; break;
		case 'p':
			if (penstock_is(key, "path")) q.path = value;
			else if (penstock_is(key, "port")) q.port = penstock_number(value);
			else if (penstock_is(key, "point")) q.point = value;
			else if (penstock_is(key, "protocol")) q.protocol = value;
		}
	}
	q.rest = (struct penstock_text){p, end - p};
	if (!q.id.at || q.id.size > 64 || ((!q.path.at || !q.method.at) && !penstock_unasked(q.point)))
		return 0;
	judge(&q, &d);
	if (penstock_failed)
		return 0;
	if (!d.word)
		return (uint64_t)(uintptr_t)penstock_out << 32 | (uint32_t)d.raw;
	to = PENSTOCK_PUT(to, "{\"version\":1,\"id\":\"");
	to = penstock_put(to, q.id.at, q.id.size);
	to = PENSTOCK_PUT(to, "\",\"decision\":\"");
	to = penstock_put(to, d.word, penstock_length(d.word));
	if (d.via) {
		to = PENSTOCK_PUT(to, "\",\"via\":\"");
		for (const char *v = d.via; *v && v < d.via + 64; v++)
			*to++ = *v;
	}
	if (d.reason) {
		to = PENSTOCK_PUT(to, "\",\"reason\":\"");
		for (const char *r = d.reason; *r && r < d.reason + 512; r++) {
			if (*r == '"' || *r == '\\')
				*to++ = '\\';
			*to++ = *r < ' ' ? '?' : *r;
		}
	}
	*to++ = '"';
	if (d.changes && d.word[0] == 'n') {
		to = penstock_changes(to, stop - 16, &d);
		if (!to)
			return 0;
	}
	if (d.body && d.word[0] == 'n') {
		if ((size_t)(stop - to) < PENSTOCK_BASE64(d.body_size) + 16)
			return 0;
		to = PENSTOCK_PUT(to, ",\"body\":\"");
		to = penstock_encode64(to, d.body, d.body_size);
		*to++ = '"';
	}
	*to++ = '}';
	return (uint64_t)(uintptr_t)penstock_out << 32 | (uint32_t)(to - penstock_out);
}

#endif
