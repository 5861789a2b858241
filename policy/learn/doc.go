// Package learn writes the policy that allows what was seen, and says what a policy
// would decide otherwise than was decided.
//
// Its hazard is an author who does not look. What it writes was a tool's wish: one
// that expects to be learned from asks for what it wants to be allowed later. So
// only what was let through counts, never what was denied; names stand as they were
// asked for, methods and paths with them; a wildcard is written only above several
// names below one registered domain, never above a public suffix; and each rule has
// the number of requests that it is for, so that the odd one is seen. Nothing is
// looked up. What is written is read back and asked about everything that it is for
// before anybody gets it. Only cmd imports it.
package learn
