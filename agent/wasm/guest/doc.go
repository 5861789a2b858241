// Package guest makes HTTP requests from inside a WebAssembly module that runs in a
// Penstock session, where there are no sockets: a Go program built with GOOS=wasip1
// GOARCH=wasm imports it. penstock.h beside it is the same for C.
//
// Its hazard is a module that believes it has the network: whatever it sends is
// judged by the session's policy, and an answer with status 403 may be the proxy's.
package guest
