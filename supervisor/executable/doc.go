// Package executable says which file a rule's executable is: what the kernel
// will call it when a process runs it.
//
// Its hazard is a name that the kernel does not use: on some file systems
// (btrfs, overlayfs) stat(2) reports another device than the one that an eBPF
// program sees, so both are given. A rule of whose file one of them is missing
// matches nobody (an allow) or too few (a deny). It opens files as whoever runs
// it, does not wait for FIFOs and runs nothing. Only supervisor and cmd import it.
package executable
