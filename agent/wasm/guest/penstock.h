/* Requests of a WebAssembly module in a Penstock session, for C.
 *
 * A request and the head of an answer are JSON; see package agent/wasm of Penstock
 * for both. What the policy denies is answered too, with status 403.
 */
#ifndef PENSTOCK_H
#define PENSTOCK_H

#include <stdint.h>

#define PENSTOCK_IMPORT(name) __attribute__((import_module("penstock"), import_name(name)))

#define PENSTOCK_FAILED (-1)    /* there was no answer */
#define PENSTOCK_BAD_CALL (-2)  /* an argument makes no sense */
#define PENSTOCK_TOO_MANY (-3)  /* too many responses are open */
#define PENSTOCK_NOT_THERE (-4) /* no such response */
#define PENSTOCK_UNLISTED (-5)  /* the module's manifest does not list the host */

/* Makes one request; the number of its response, or one of the above. */
PENSTOCK_IMPORT("http_send") int32_t penstock_http_send(const char *head, uint32_t head_len, const void *body, uint32_t body_len);

/* Writes the head of the answer and returns its length; if that is more than cap,
 * nothing is written. */
PENSTOCK_IMPORT("http_head") int32_t penstock_http_head(int32_t response, char *to, uint32_t cap);

/* Writes the next bytes of the body and returns how many; 0 at its end. */
PENSTOCK_IMPORT("http_body") int32_t penstock_http_body(int32_t response, void *to, uint32_t cap);

PENSTOCK_IMPORT("http_close") int32_t penstock_http_close(int32_t response);

#endif
