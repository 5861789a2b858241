// Package proxyrole is the main of the proxy role: the one process that reads
// what a pen sends. It gives up everything it does not need (capabilities,
// files, exec, ptrace) before it reads the first byte, then serves the pen's
// sockets until the supervisor says that the session ends, or is gone.
//
// On macOS it is started under a profile of Seatbelt (darwin.ProxyProfile) instead, and
// serves one port of the host's.
//
// Its hazard is what it holds: the authority's key, the secrets' values, the
// audit's descriptor and the host's network. A tool that takes it over can dial
// what the host can and write false records from then on; it can't read a file,
// start a program, or change a record that is already chained into what the
// supervisor or a reader has seen. It writes to nothing but the audit, its
// sockets and the control socket. Only cmd imports it.
package proxyrole
