package supervisor

import (
	"fmt"
	"io"
	"strings"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// shownTargets bounds the lines of each list of the summary.
const shownTargets = 5

// summary is what a person reads at the end of a run.
type summary struct {
	Session  string
	AuditDir string // "" if it is the default
	Proxy    *proxyctl.Summary
	Mode     string
}

// write renders the summary. Every string that the pen may have chosen is
// escaped. A run without a single request is one line.
func (s *summary) write(w io.Writer) {
	p := s.Proxy
	line := func(format string, args ...any) { fmt.Fprintf(w, "penstock: "+format+"\n", args...) }
	switch {
	case p.AllowedTotal == 0 && p.DeniedTotal == 0:
		line("no requests; session %s", s.Session)
	default:
		line("%s allowed, %s denied; session %s", requests(p.AllowedTotal), requests(p.DeniedTotal), s.Session)
	}
	s.list(line, "allowed", p.Allowed)
	denied := "denied"
	if s.Mode == "audit" {
		denied = "would be denied"
	}
	s.list(line, denied, p.Denied)
	if len(p.Denied) > 0 && p.Denied[0].Allow != "" {
		which := "it"
		if len(p.Denied) > 1 {
			which = "the first of these"
		}
		line("to allow %s, run again with: --allow %s", which, shellWord(p.Denied[0].Allow))
	}
	for _, n := range p.Notes {
		line("%s", text.Escape(n))
	}
	if p.Lost > 0 {
		line("WARNING: %d audit records were lost", p.Lost)
	}
	dir := ""
	if s.AuditDir != "" {
		dir = " --audit-dir " + shellWord(s.AuditDir)
	}
	if p.AllowedTotal+p.DeniedTotal > 0 {
		line("audit: penstock audit show %s%s", s.Session, dir)
	}
	if p.HeadHash != "" {
		line("audit head: %d:%s", p.HeadSeq, text.Escape(p.HeadHash))
	}
}

func (s *summary) list(line func(string, ...any), what string, counts []proxyctl.Count) {
	for i, c := range counts {
		if i == shownTargets {
			line("  … and %d more targets", len(counts)-i)
			return
		}
		by := c.Rule
		if by == "" {
			by = "no rule allows it"
		}
		line("  %-15s %5d× %s  (%s)", what, c.N, text.Escape(c.Target), text.Escape(by))
	}
}

func requests(n uint64) string {
	if n == 1 {
		return "1 request"
	}
	return fmt.Sprintf("%d requests", n)
}

// shellWord quotes s for a POSIX shell where that is needed, after escaping
// what no terminal should see.
func shellWord(s string) string {
	s = text.Escape(s)
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._/:=@%+,[]", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 && !strings.HasPrefix(s, "-") && !strings.Contains(s, "[") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
