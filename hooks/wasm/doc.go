// Package wasm asks a hook that is a WebAssembly module. The module is given a
// question in the form of package wire and answers with a decision in that form;
// docs/hooks.md has its interface. It runs in wazero's interpreter, which needs no
// executable memory and leaves the bounds checks to Go (RATIONALE.md).
//
// # Hazards
//
// The pen chooses most of a question's bytes, and sometimes the module: one that
// it could write is used only as its hash stands in the policy. A hostile question
// would make the guest trap, loop or exhaust its memory, in the hope that it is
// left out then; or have it forget what it has counted. A hostile module would
// loop while it starts, in a question or where nobody looks for an end; grow its
// memory or a table until the proxy dies; recurse until the stack is full; hand out
// addresses outside its memory; answer a question with the answer to an older one;
// ask for functions that nobody gives; or look for a file, a variable, a clock or
// randomness that tells it more than the question. Each has a test.
//
// Nothing but the proxy role and tests imports it: it is the price of a library
// that most programs have no use for.
package wasm
