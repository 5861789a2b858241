// Package chain asks the hooks of a policy about a request, one after the other,
// and makes a deny of everything that is not an answer: an error, a panic, a
// deadline, too many at once, an action that is not known, a hook that keeps
// failing.
//
// # Hazards
//
// A hook can only take away: the chain is asked about requests that the policy
// allows, and its best answer is that nobody had anything against it.
//
// The pen chooses what hooks look at, and how often. It would try: a request on
// which the hook dies or hangs, in the hope that it is left out then; many at
// once, so that there is no room to ask; bytes that come back in the reason. A
// hook may be wrong or not ours: it would answer with a status or header that
// means something to the connection, with a reason that is a terminal's escape
// sequence, too late, or never.
//
// Where a hook asks a person or chooses a way, the pen would have its own words in the
// question or the name: reasons are escaped and bounded, a name is one of the policy's
// or a deny. It would have a yes to one thing let out another: the answer is for what the
// hook said (netproxy/desk), and a policy or process that has changed meanwhile denies.
// It would have two hooks choose, and the weaker one win: that denies. What has left
// already no hook can hold or send another way.
//
// About names the pen could ask without end, since a question costs it a datagram, or not
// ask at all: whoever asks here bounds how many at once (netproxy/dns), and asks again
// about the connection (netproxy/decide.go).
//
// Where a hook changes a header, the pen would have it write a field that frames the
// message, names another target or has a credential, or have one hook add what another
// has denied. So names are of a list, values are one line, what two want differently
// denies, and who makes the change asks everybody again (netproxy/rewrite.go), once.
//
// Of bodies a pen, or an upstream, would begin many and end none; cut what it hides
// in two; compress it, so that little becomes much or much becomes nothing, or put
// something behind the end of what is compressed; call it something else; hide it in
// trailers, or behind the length that hooks look at. Nothing of a body is passed on
// that the hooks were not asked about, but what a policy lets pass by name
// (hooks.Inspect). Each of these has a test.
//
// Where a hook changes a body, the pen would have it write what an earlier hook, or a rule,
// has something against, or a placeholder; a length, an encoding, a digest or trailers stay
// that are of the old one, so that two sides read two messages; a part of a file be put
// where it does not belong; or two hooks change it for ever. So only who the policy says may,
// of a whole that was decoded, in bounds; what it makes is framed anew and judged from the
// beginning (netproxy/rebody.go), once.
package chain
