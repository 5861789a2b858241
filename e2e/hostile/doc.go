// Package hostile is the suite of attacks: a hostile program (package tool) runs
// in a pen, as root and as an ordinary user, and tries what such a program would
// try. What it believes does not count. An attempt is held only if nothing of it
// arrived outside: in the ledger of the private internet (packets, DNS questions,
// bytes at its servers), at the host's own listeners, files and processes.
//
// An attempt that could not succeed anyway would pass for the wrong reason, so
// nearly each has a control that must arrive: the same act without a pen, or its
// twin in the same pen, aimed at what the policy allows.
//
// docs/hostile.md is the list of all attempts; `go test -update` writes it.
//
// Its hazard is the machine it runs on: an act whose success would change more
// than the rig's namespaces and directories has no control, and says why. It
// holds no code of the product; only package machines, a part of it, imports it.
package hostile
