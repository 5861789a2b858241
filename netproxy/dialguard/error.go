package dialguard

import (
	"fmt"
	"net/netip"
	"strings"
)

// RefusedError says that an address was not dialled because of what it is.
type RefusedError struct {
	Class Class
	Name  string     // the name that resolved to it; "" for a literal
	Addr  netip.Addr // invalid when the name itself is refused
}

// Error says what was refused and why, on one line. Names are canonical here
// and are quoted all the same.
func (e *RefusedError) Error() string {
	switch {
	case !e.Addr.IsValid():
		return fmt.Sprintf("dial %q: refused: not a name that can be looked up", e.Name)
	case e.Name == "":
		return fmt.Sprintf("dial %s: refused: %s address", e.Addr, e.Class)
	default:
		return fmt.Sprintf("dial %q: refused: it resolves to %s, a %s address", e.Name, e.Addr, e.Class)
	}
}

// Hint says which line of a policy would allow the address, if any can.
func (e *RefusedError) Hint() string {
	if !e.Addr.IsValid() || e.Class == ClassInvalid {
		return ""
	}
	p := netip.PrefixFrom(e.Addr, e.Addr.BitLen())
	switch {
	case e.Name == "":
		return fmt.Sprintf("a rule {cidr: %q} would allow it", p)
	case e.Class == ClassLoopback:
		return "for a service of the host's own loopback use the name host.penstock.internal in a rule with its port"
	default:
		return fmt.Sprintf("addresses: [%q] in the rule for this name would allow it", p)
	}
}

// ResolveError says that a name has no address. The resolver's own text is not
// passed on where it could quote the host's configuration.
type ResolveError struct {
	Name string
	Err  error
}

// Error returns the name and the cause on one line.
func (e *ResolveError) Error() string { return fmt.Sprintf("resolve %q: %v", e.Name, e.Err) }

// Unwrap returns the cause.
func (e *ResolveError) Unwrap() error { return e.Err }

// DialError says that none of the checked addresses could be connected to.
type DialError struct {
	Name  string
	Port  uint16
	Tried []netip.Addr
	Err   error // of the last attempt
}

// Error returns what was tried and the cause on one line.
func (e *DialError) Error() string {
	var b strings.Builder
	for i, a := range e.Tried {
		if i > 0 {
			b.WriteString(", ")
		}
		if i == 4 {
			fmt.Fprintf(&b, "%d more", len(e.Tried)-i)
			break
		}
		b.WriteString(a.String())
	}
	return fmt.Sprintf("connect to %q port %d (%s): %v", e.Name, e.Port, b.String(), e.Err)
}

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.Err }

// OwnError says that the host's own addresses could not be read, so that no
// address can be told from them.
type OwnError struct{ Err error }

// Error returns the cause on one line.
func (e *OwnError) Error() string { return fmt.Sprintf("read the host's own addresses: %v", e.Err) }

// Unwrap returns the cause.
func (e *OwnError) Unwrap() error { return e.Err }
