// Package world is the test rig: a private internet for end-to-end tests.
//
// Main, called from TestMain, executes the test binary again in fresh
// namespaces. Namespace H is "the host": penstock, the commands under test and
// the test itself run there. Namespace W is "the internet": it holds the
// origins, a DNS server and a sniffer that writes down every packet that
// arrives. A veth pair joins them; nothing else leaves either, so that neither
// the machine nor its network is touched and none is needed. It works as root
// and, by a user namespace with the caller's own id, as an ordinary user.
//
// Its hazard is being believed: a rig that loses a packet or a query would turn
// a leak into a passed test. So the sniffer counts what the kernel dropped, and
// Outside and Queries wait for markers that were sent after everything else. Only
// tests import it.
package world
