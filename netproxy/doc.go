// Package netproxy turns the bytes of a pen's connections into decisions and
// obeys them: it takes captured and proxy connections, finds out what they
// speak, binds each request to one target, asks the policy, records the answer,
// and only then lets the first byte leave.
//
// HAZARDS. Both ends are hostile: the tool inside the pen chooses every byte it
// sends, and an origin may work with it. A tool tries
//   - to have one name judged and another contacted: SNI, Host, :authority,
//     absolute URL, CONNECT and SOCKS targets and the captured name that differ,
//     on the first request of a connection or on a later one;
//   - to hide a request from us that the origin sees: two lengths, odd line
//     ends, folded lines, chunk tricks, upgrades, requests inside tunnels;
//   - to pass under a rule about paths with another spelling of the path;
//   - to hold us up: silence, slow headers, endless hellos, many connections;
//   - to pass a hook: by a body that is compressed, endless or late, by messages
//     where a hook is about bodies, by 1xx answers where it is about answers;
//     in a WebSocket by fragments, compression that nobody agreed on, frames that
//     two readers read in two ways, or a message behind the one that is denied;
//   - to get a secret's value into a place where it can read it back;
//   - to make a handler panic between the verdict and its obeying.
//
// So: one canonical target is bound before anything else looks at a request;
// every error, panic and unknown is a deny; each wait has a limit; the record
// is written before the upstream is dialled; the value of a secret is put in
// last and is in nothing that is recorded.
//
// The policy judges, dialguard resolves and dials, ca mints certificates, audit
// records; this package joins them. Only the proxy role may import it.
package netproxy
