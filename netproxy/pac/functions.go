package pac

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
)

// The functions that a file may use, by the documents of Netscape ("Navigator Proxy
// Auto-Config File Format", 1996), Mozilla and Microsoft (those in …Ex).
func functions(m *machine) map[string]value {
	env := m.env
	fn := func(f func(args []value) value) *object {
		return m.function(func(m *machine, _ value, args []value) value {
			m.step(5)
			return f(args)
		})
	}
	host := func(args []value, i int) string { return bound(m, textArg(m, args, i)) }
	addr := func(s string) netip.Addr {
		if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
			return a.Unmap()
		}
		if env.Resolve != nil {
			return env.Resolve(strings.ToLower(s))
		}
		return netip.Addr{}
	}
	four := func(s string) (netip.Addr, bool) {
		a := addr(s)
		return a, a.Is4()
	}
	name := func(a netip.Addr) value {
		if !a.IsValid() {
			return null{}
		}
		return a.String()
	}
	return map[string]value{
		"isPlainHostName": fn(func(args []value) value { return !strings.ContainsAny(host(args, 0), ".:") }),
		"dnsDomainIs":     fn(func(args []value) value { return strings.HasSuffix(host(args, 0), host(args, 1)) }),
		"localHostOrDomainIs": fn(func(args []value) value {
			h, whole := host(args, 0), host(args, 1)
			return h == whole || !strings.Contains(h, ".") && strings.HasPrefix(whole, h+".")
		}),
		"dnsDomainLevels": fn(func(args []value) value { return float64(strings.Count(host(args, 0), ".")) }),
		"shExpMatch": fn(func(args []value) value {
			s, p := host(args, 0), host(args, 1)
			m.step((len(s) + 1) * (1 + len(p)/4))
			return shellMatch(s, p)
		}),
		"isResolvable":   fn(func(args []value) value { _, ok := four(host(args, 0)); return ok }),
		"isResolvableEx": fn(func(args []value) value { return addr(host(args, 0)).IsValid() }),
		"dnsResolve": fn(func(args []value) value {
			a, ok := four(host(args, 0))
			if !ok {
				return null{}
			}
			return a.String()
		}),
		"dnsResolveEx": fn(func(args []value) value {
			if v, ok := name(addr(host(args, 0))).(string); ok {
				return v
			}
			return ""
		}),
		"isInNet": fn(func(args []value) value {
			a, ok := four(host(args, 0))
			p, err1 := netip.ParseAddr(host(args, 1))
			mask, err2 := netip.ParseAddr(host(args, 2))
			if !ok || err1 != nil || err2 != nil || !p.Is4() || !mask.Is4() {
				return false
			}
			number := func(a netip.Addr) uint32 { b := a.As4(); return binary.BigEndian.Uint32(b[:]) }
			return number(a)&number(mask) == number(p)&number(mask)
		}),
		"isInNetEx": fn(func(args []value) value {
			a := addr(host(args, 0))
			p, err := netip.ParsePrefix(host(args, 1))
			return err == nil && a.IsValid() && p.Contains(a)
		}),
		"myIpAddress":   fn(func([]value) value { return env.address().String() }),
		"myIpAddressEx": fn(func([]value) value { return env.address().String() }),
		"sortIpAddressList": fn(func(args []value) value {
			var list []netip.Addr
			for s := range strings.SplitSeq(host(args, 0), ";") {
				a, err := netip.ParseAddr(strings.TrimSpace(s))
				if err != nil {
					return ""
				}
				list = append(list, a)
			}
			m.step(len(list) * 20)
			// Those of IPv6 first.
			slices.SortFunc(list, func(a, b netip.Addr) int {
				if a.Is4() != b.Is4() {
					return b.BitLen() - a.BitLen()
				}
				return a.Compare(b)
			})
			out := make([]string, len(list))
			for i, a := range list {
				out[i] = a.String()
			}
			return m.text(strings.Join(out, ";"))
		}),
		"getClientVersion": fn(func([]value) value { return "1.0" }),
		"weekdayRange":     fn(func(args []value) value { return weekdays(m, env.Now, args) }),
		"dateRange":        fn(func(args []value) value { return dates(m, env.Now, args) }),
		"timeRange":        fn(func(args []value) value { return times(m, env.Now, args) }),
		"alert":            fn(func(args []value) value { return nil }), // nobody reads it
	}
}

// shellMatch is a shell's pattern with * and ?, in time of the product of the lengths.
func shellMatch(s, p string) bool {
	at, star, mark := 0, -1, 0
	i := 0
	for at < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, at
			i++
		case i < len(p) && (p[i] == '?' || p[i] == s[at]):
			i++
			at++
		case star >= 0:
			mark++
			i, at = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(p[i:], "*") == ""
}
