// Package dns is the pen's resolver. It answers every well-formed host name
// with a synthetic address that belongs to that name alone for the session, and
// it never asks anybody: the real look-up comes after the verdict, elsewhere,
// so this package has no resolver, no dialler and no upstream.
//
// A connection to a synthetic address is a connection to its name (Table), so
// raw TCP is judged by name too.
//
// Hazards. Every byte of a query is the tool's. It would try to use the
// resolver as a way out (queries that get forwarded: there is nobody to forward
// to), to make one address stand for two names (addresses are never reused), to
// fill memory with names (both the number and the bytes of names are bounded;
// then nothing new is answered) or the audit with questions (told once, and
// bounded in rate), to have a name answered here that the policy would read
// differently (one canonical form, policy.CanonicalHost, is what is stored), to
// have more names judged by hooks than these can answer (few turns, a bounded queue that
// names nobody is asked about pass by), keep an answer until hooks deny the name (whoever
// judges connections asks them again), to have a hook's owner told names that the policy
// denies (Config.Judge is to ask about no such), to
// crash or hang the parser (compression loops, lengths, slow TCP), or to make
// two of our sockets answer each other (responses are never answered).
//
// Only the proxy role runs it; what is privileged must not import it.
package dns
