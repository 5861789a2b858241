// Package reaper is what penstock does as the first process of a container: it starts
// itself once more as what was asked for, and is init for the rest.
//
// Its job is the kernel's for process 1 (pid_namespaces(7)): processes whose parent has
// ended become its children and stay as zombies until it waits for them; signals that it
// has no handler for are dropped; when it ends, everything is killed. So it waits for
// whatever ends, hands signals on, ends as its child does, and gives what the child has
// left to put away (supervisor/janitor) a moment. The supervisor waits for its own
// children by number and could not do that beside.
//
// Its hazard is to stand between an engine's SIGTERM and a session's last record: it
// decides nothing about a signal, and hands on all that a process can get from outside. A
// hostile tool in a pen has another process 1 and neither sees this one nor may signal it;
// what it leaves behind dies with its pen. What is reaped here comes from outside of pens.
//
// It runs before the rest of the program is initialised (cmd/penstock/roles), so nothing
// but the kernel's calls may be imported. Only cmd/penstock/roles imports it.
package reaper
