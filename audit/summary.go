package audit

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock/penstock/internal/text"
)

// maxGroups bounds a Summary's memory; flows of further groups are counted together.
const maxGroups = 2000

// Group is the flows of one session, or several, that had the same destination and outcome.
type Group struct {
	Verdict  string `json:"verdict"`
	Host     string `json:"host"` // name or literal address
	Port     int    `json:"port"`
	Protocol string `json:"protocol"`
	Rule     string `json:"rule,omitempty"`   // "" for the default
	Reason   string `json:"reason,omitempty"` // of the first of them
	Count    uint64 `json:"count"`
}

// Summary is what a session did, in numbers.
type Summary struct {
	Allowed uint64 `json:"allowed"`
	Denied  uint64 `json:"denied"`
	// Would is the flows that audit mode let through against their verdict.
	Would      uint64 `json:"would_deny,omitempty"`
	DNS        uint64 `json:"dns"`
	Drops      uint64 `json:"drops"`
	Secrets    uint64 `json:"secrets"`
	Violations uint64 `json:"violations"`
	Lost       uint64 `json:"lost"`
	// Groups has the denied ones first, each kind by falling count.
	Groups []Group `json:"groups"`
	// Ungrouped flows are those of further groups than are kept.
	Ungrouped uint64 `json:"ungrouped,omitempty"`
}

// Summarize reads a session's file. It takes lines as they are and skips what
// is not a record; Verify is for doubts.
func Summarize(r io.Reader) (*Summary, error) {
	s := &Summary{Groups: []Group{}}
	index := map[string]int{}
	var key []byte
	in := NewScanner(r)
	for in.Scan() {
		raw := in.Bytes()
		switch string(member(raw, `,"type":"`)) {
		case TypeFlowOpen:
			key = s.flow(raw, index, key[:0])
		case TypeDNS:
			s.DNS++
		case TypeDrop:
			s.Drops += memberUint(raw, `,"count":`)
		case TypeSecretUse:
			s.Secrets++
		case TypeViolation:
			s.Violations++
		case TypeLoss:
			s.Lost += memberUint(raw, `,"count":`)
		}
	}
	slices.SortStableFunc(s.Groups, func(a, b Group) int {
		if (a.Verdict == "allow") != (b.Verdict == "allow") {
			if a.Verdict == "allow" {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port))
	})
	return s, in.Err()
}

// flow counts one flow_open. key is room for its group's key.
func (s *Summary) flow(raw []byte, index map[string]int, key []byte) []byte {
	verdict := member(raw, `,"verdict":"`)
	switch {
	case string(verdict) == "allow":
		s.Allowed++
	case string(member(raw, `,"mode":"`)) == ModeAudit:
		s.Would++
	default:
		s.Denied++
	}
	host := member(raw, `,"host":"`)
	if host == nil {
		host = member(raw, `,"address":"`)
	}
	port, protocol, rule := memberUint(raw, `,"port":`), member(raw, `,"protocol":"`), member(raw, `,"rule":"`)
	for _, part := range [][]byte{verdict, host, protocol, rule} {
		key = append(append(key, part...), '\n') // escaped in all of them
	}
	key = strconv.AppendUint(key, port, 10)
	i, ok := index[string(key)]
	if !ok {
		if len(s.Groups) == maxGroups {
			s.Ungrouped++
			return key
		}
		i = len(s.Groups)
		index[string(key)] = i
		s.Groups = append(s.Groups, Group{
			Verdict: unquote(verdict), Host: unquote(host), Port: int(port), Protocol: unquote(protocol),
			Rule: unquote(rule), Reason: unquote(member(raw, `,"reason":"`)),
		})
	}
	s.Groups[i].Count++
	return key
}

// Top returns the denied group with the most flows that no rule denied, so that
// an allow would change it; nil if there is none.
func (s *Summary) Top() *Group {
	for i := range s.Groups {
		if g := &s.Groups[i]; g.Verdict != "allow" && g.Rule == "" && g.Fix() != "" {
			return g
		}
	}
	return nil
}

// Fix returns what to add to the command line, or to the policy file, so that
// the group's flows are allowed; "" if nothing would help, because a deny rule
// always wins, or if the name is none that a policy could hold.
func (g *Group) Fix() string {
	if g.Rule != "" || g.Host == "" || g.Port == 0 {
		return ""
	}
	for _, c := range []byte(g.Host) { // it is going to be pasted into a shell
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' && c != ':' {
			return ""
		}
	}
	if g.Host[0] == '-' {
		return ""
	}
	name := g.Host
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	switch {
	case g.Protocol == "https" && g.Port == 443, g.Protocol == "http" && g.Port == 80,
		// Refused before a byte was read: what would have been spoken there.
		g.Protocol == "tcp" && (g.Port == 443 || g.Port == 80):
		return "--allow " + name
	case g.Protocol == "http" || g.Protocol == "https":
		return fmt.Sprintf("--allow %s:%d", name, g.Port)
	case g.Protocol == "tcp":
		return fmt.Sprintf("--allow tcp://%s:%d", name, g.Port)
	case g.Protocol == "tls" && g.Host == name:
		return fmt.Sprintf("egress: {allow: [{host: %s, ports: [%d], inspect: false}]}", name, g.Port)
	}
	return ""
}

// Print writes the summary for a person, at most lines groups of each kind,
// every line after prefix.
func (s *Summary) Print(w io.Writer, prefix string, lines int) {
	fmt.Fprintf(w, "%s%d allowed, %d denied", prefix, s.Allowed, s.Denied)
	for _, c := range []struct {
		n    uint64
		what string
	}{{s.Would, "would be denied"}, {s.Drops, "packets dropped"}, {s.Secrets, "uses of secrets"}, {s.Violations, "VIOLATIONS"}, {s.Lost, "RECORDS LOST"}} {
		if c.n > 0 {
			fmt.Fprintf(w, ", %d %s", c.n, c.what)
		}
	}
	fmt.Fprintln(w)
	shown, kind := 0, ""
	for i := range s.Groups {
		g := &s.Groups[i]
		k := "allowed"
		if g.Verdict != "allow" {
			k = "denied"
		}
		if k != kind {
			shown, kind = 0, k
		}
		if shown++; shown > lines {
			if shown == lines+1 {
				fmt.Fprintf(w, "%s  … and more %s\n", prefix, k)
			}
			continue
		}
		why := g.Rule
		if why == "" {
			why = "no rule"
		}
		fmt.Fprintf(w, "%s  %-7s %5d  %s  (%s)\n", prefix, k, g.Count, text.Clip(g.Destination(), 100), text.Clip(why, 100))
	}
	if g := s.Top(); g != nil {
		fmt.Fprintf(w, "%s  to allow %s: %s\n", prefix, text.Clip(g.Destination(), 100), g.Fix())
	}
}

// Destination returns protocol://host:port, as the group is shown. The host is
// not escaped.
func (g *Group) Destination() string {
	name := g.Host
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	if g.Protocol == "https" && g.Port == 443 || g.Protocol == "http" && g.Port == 80 {
		return g.Protocol + "://" + name
	}
	return fmt.Sprintf("%s://%s:%d", g.Protocol, name, g.Port)
}
