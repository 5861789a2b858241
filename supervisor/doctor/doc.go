// Package doctor tells what this machine can enforce, by trying it: namespaces
// are made, a pen is run, each installed client makes a request through one.
//
// Its hazard is reassurance: a finding is "ok" only if the thing was done and
// its result was seen, for clients at the origin and not at the client. What
// could not be tried is said to be unknown, and nothing is changed or repaired.
// Only cmd imports it.
package doctor
