// Package wasm is the WebAssembly tier: a WASI module is run by an interpreter
// that sits in a pen of another tier, and sees what that pen shows only as far as
// it was granted. The pen around it is built, verified and recorded like any other.
//
// # Hazards
//
// What runs is the module's code, made native by a compiler inside the pen (see
// package agent/wasm). A hostile module would try: a path with .. or a symbolic link
// out of what it was given (the kernel refuses: the interpreter's process has entered
// a Landlock domain of these paths); memory without end, a loop without end (limits
// of memory and time end it); the network (it has no sockets, and its requests go
// where every tool's go); and to leave native code for the next session in the
// cache of compiled modules: a module has a directory of its own there, writable
// only in the first session that runs it, until it is compiled.
package wasm
