// Package dialguard makes the connections that leave the host for a pen. It is
// the only package of the product that resolves names, and it does so after the
// verdict.
//
// Its hazard is an address that the verdict did not mean: a name that is allowed
// may be answered, by whoever runs its DNS, with an address of the host itself,
// of the cloud's metadata service or of the internal network, and with another
// one at the next query (DNS rebinding). So every address of an answer is
// classified; one that is forbidden refuses the whole answer, because a mixture
// of public and internal addresses is what an attack looks like and because
// picking the good ones would leave the choice to a race; and what is dialled is
// the very address that was checked, never the name again. IPv6 addresses that
// carry an IPv4 address are judged as both.
//
// A hostile tool inside the pen would name hosts of its own that resolve to
// internal addresses, alternate their answers, use every spelling of an address
// (decimal, octal, IPv4-mapped, NAT64, 6to4, Teredo, ISATAP, zones) and rely on
// the resolver's search list to turn one name into another. Names are therefore
// looked up as absolute names, numeric names are refused, and anything that is
// not known to be ordinary unicast is refused: the classes are a list of what is
// good, not of what is bad.
//
// Only netproxy and supervisor/proxyrole import it.
package dialguard
