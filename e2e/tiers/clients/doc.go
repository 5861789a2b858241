// Package clients has real clients do the same in each tier that runs programs: what they
// print, and what the audit says of it, is the same but for the tier's name.
//
// Clients are run one after the other in one session of each tier; in a virtual machine
// that takes its time, so it is a package apart from package tiers. What a tier's audit
// says of processes is not compared: there the tiers differ, as docs/tiers.md says.
//
// It holds no code of the product and nothing imports it.
package clients
