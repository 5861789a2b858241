// Package policy is the language in which a person says what a pen may do: it
// parses the files, joins the layers, compiles them into one immutable value,
// decides requests by it and explains what it decided.
//
// It is pure: the only I/O is reading policy files and keeping the trust store
// (Load, Trust). It imports package hooks and nothing else of this module; it
// must not import netproxy, supervisor or sandbox, which obey it.
//
// # Semantics
//
// The order of rules never matters. Any matching deny wins; else any matching
// allow; else any matching ask; else the default. So adding a deny never widens,
// adding an allow never narrows what a pen may do, and adding an ask does neither:
// it is about what is otherwise the default's, a person's yes can allow no more
// than a rule could that the limits of all layers let pass, and what a rule allows
// is not asked about. Where the default is allow nobody is asked; a layer below the
// rule's can't have that. A request that can't be understood (no
// target, a name that is not canonical, a method in lower case) is denied before
// any rule is looked at, also when the default is allow.
//
// What can't be seen can't be excepted: a deny that looks at methods or paths
// also covers raw TCP and TLS that is passed through at its hosts and ports,
// because its request could be in there.
//
// # Hazards
//
// A hostile tool in the pen chooses the names, paths and methods judged here,
// and may have written the project's policy file. It would try: another spelling
// of a name or path than the one in the rule (case, trailing dot, punycode,
// full-width letters, %-encoding, dot segments, "..;", doubled slashes); a name
// that ends like an allowed one (evilexample.com, example.com.evil); an address
// dressed as a name (0x7f.1, 2130706433); a policy file that exhausts memory
// (aliases, depth, size), blocks the reader (a FIFO), hides text from the
// reviewer (bidirectional controls) or writes to the terminal through an error
// message; a project file changed after it was approved; the name, a link or a
// copy of a program that a rule is about.
//
// A hostile caller of a privileged supervisor writes the policy that he wants as
// JSON (UnderFloor). He would try: to pose as the administrator's layer or file;
// values that no parser makes; to say which file the administrator's rule means;
// to leave the administrator's layer out. All of these have tests.
package policy
