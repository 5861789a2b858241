// Package ca is the certificate authority of one user's pens: it keeps the
// authority on disk, mints the leaf certificates with which the proxy answers a
// pen, and writes the trust bundles that make the pen's tools accept them.
//
// Its hazard is the key: whoever reads it can impersonate every server to every
// program that trusts the authority. So the authority is per user and is never
// installed in the host's own trust stores; the key file is refused when anybody
// else could read it or could have put it there; the supervisor only opens it
// and hands the descriptor to the proxy role; and the directory (Dir) must be
// hidden from every pen, also from one whose home is writable. The bundles are
// for the pen alone: nothing on the host's side may verify an upstream with
// them, because they contain the authority itself.
//
// A hostile tool inside would try to exhaust the leaf cache with made-up names
// (it is bounded, and a leaf costs one signature), to obtain a certificate for a
// name it may not reach (it proves nothing outside the pen), and to read the key
// (it is not in the pen). Only netproxy, supervisor and cmd/penstock import it.
package ca
