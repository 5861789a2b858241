// Package kill sends SIGKILL to each process of a session at random moments,
// from the session's first instant to the middle of its work, while the command
// tries all the time to get out, and looks at what is left: nothing on the host,
// nothing outside but what was allowed and recorded, no audit file that lies. Under
// the privileged supervisor that one is killed too, and what its successor leaves
// of it is compared down to control groups, pins and eBPF objects.
//
// Its hazard is a moment that is never hit, so each kill is counted by what the
// session was doing, and a role that was not met is a failure. It has no code
// outside its tests and nobody imports it.
package kill
