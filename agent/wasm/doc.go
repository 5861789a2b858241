// Package wasm runs a WebAssembly module with WASI as a session's command: it is the
// process in the pen that package sandbox/wasm asks for.
//
// # Hazards
//
// The module is hostile, and so is what it reads. Before its first instruction this
// process gives up every path but those that were granted, so that a name with .. or
// a symbolic link that the module makes leads nowhere else. It has memory up to a
// limit, no socket, no process, no signal, and no descriptor but the three streams.
// It makes HTTP requests by four functions of the host module "penstock" (see Import);
// they go to the pen's own proxy port, so that verdict, hooks, secrets and audit are
// those of every other tool. Numbers that a module passes are offsets in its memory:
// each is checked, and what is read for it is bounded.
package wasm
