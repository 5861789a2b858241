// Package invariants holds the twelve invariants of SECURITY.md by tests named
// after them, each through real pens in the private internet of package world, as
// root and as an ordinary user.
//
// Its hazard is a test that passes whatever Penstock does: each test has a
// counterpart that must work (an allowed request, an unchanged bwrap, a file that
// is writable), and each was seen failing with its control removed. It has no
// code outside its tests and nobody imports it.
package invariants
