// Package upstream reaches targets by the proxies of the network that a policy
// names: HTTP and HTTPS proxies (CONNECT, and absolute-form requests for http),
// and SOCKS5 (RFC 1928, names always resolved at the proxy).
//
// What is delegated: the proxy resolves the name and connects, so the addresses
// of the target are its business. The dial guard judges the proxy's own address,
// and targets that are addresses; certificates of targets are verified as ever,
// inside the tunnel. A proxy that lies can refuse, delay and see where traffic
// goes, and it reads and changes what is http in clear.
//
// Proxies are logged in to by Basic, by SOCKS5's password (RFC 1929), by NTLM of
// version 2, which logs in a connection, or by Negotiate with Kerberos, for which a
// KDC is asked that the policy names. The file by which another upstream chooses among
// them is got here, too, where it has a URL.
//
// Its hazard is the login, which is in the bytes that are sent to the proxy and
// nowhere else: no error quotes what was sent, nor the text of an answer.
//
// # What a hostile tool could try
//
// To learn the login: by asking the proxy itself, as a target or by another path
// (that is a target like any other, and a login is sent to upstreams only); by an
// origin or a proxy that sends it back (the answer is searched for it); by having
// the proxy ask for another kind of login (407 never reaches the pen), or for one
// of NTLM version 1, from which the password can be found (none is made). To lock the
// user's account by trying again (after a refusal NTLM rests for a minute). To reach
// by the proxy what the guard refuses directly: a name that the proxy would read
// as an address, another spelling, or a line break in the request's head (targets
// are canonical; Delegate of the guard looks once more), a Host that differs from
// the URL (the request line is made of the target). To go round the proxy: by
// another port, method or address of the same host (the way depends on the host
// only). To be asked for the PAC file that an upstream has by its URL: its host is
// resolved on the host, by nothing that the pen can change, verified by its
// certificate, and reached by no rule of the pen's. To hold resources: every step has a deadline, every answer a bound. All
// of these have tests.
//
// Only netproxy imports it.
package upstream
