// Package tokens gets the values of secrets that somebody else has: access tokens
// from an OAuth 2.0 token endpoint, and what a Vault holds. It is asked when a request
// that was allowed is about to get such a value, keeps what it got until shortly before
// that expires, and puts it into the Set, from where it goes like any other secret.
//
// # Hazards
//
// It parses a peer's bytes, so it is the proxy role's and never the supervisor's. It
// sends credentials (a client's secret, a refresh token, a Vault's token), only to the
// URL of the policy, over verified TLS and the proxy's own way of dialling; what it
// gets is put where the policy says and nowhere else. Errors quote neither what was
// sent nor what was answered, but for an error code of RFC 6749 that is one.
//
// A hostile endpoint can redirect (nothing is followed), answer without end (bounded)
// or not at all (a deadline), with the wrong type, with line breaks in a token (what
// can't stand in a header changes nothing), or with a token that expires at once.
//
// A hostile tool can have requests sent and answered with 401 at will. It can't have
// the endpoint asked for each: one question for all who wait, a pause after one that
// failed, and one renewal for a token that was refused, not another for that which came
// of it. It sees that a value can't be had, and why in general, and never a value.
//
// Only netproxy and the proxy role import it.
package tokens
