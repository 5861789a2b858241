// Package host is the machine as the tests of the invariants see it: who runs
// penstock, the processes that a session consists of, and everything that a
// session could leave behind.
//
// Its hazard is looking past what is left: it takes over what the session's
// processes leave by being their reaper, and gives them temporary directories of
// their own, so that whatever is there afterwards is theirs, whatever else the
// machine does meanwhile. Only tests of e2e import it.
package host
