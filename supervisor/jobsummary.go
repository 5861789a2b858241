package supervisor

import (
	"fmt"
	"os"
	"strings"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// jobSummaryVariable names the file that GitHub Actions and Forgejo show as a
// job's summary.
const jobSummaryVariable = "GITHUB_STEP_SUMMARY"

// writeJobSummary appends the summary as Markdown to the CI system's file. The
// path comes from the caller's environment, never from the pen, which does not
// see the variable.
func writeJobSummary(path string, s *summary, command []string, exitCode int) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("write the job summary: %w", err)
	}
	if _, err := f.WriteString(s.markdown(command, exitCode)); err != nil {
		f.Close()
		return fmt.Errorf("write the job summary: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write the job summary: %w", err)
	}
	return nil
}

func (s *summary) markdown(command []string, exitCode int) string {
	var b strings.Builder
	p := s.Proxy
	fmt.Fprintf(&b, "### Penstock: %s\n\n", cell(strings.Join(command, " ")))
	fmt.Fprintf(&b, "Exit code %d, %s allowed, %s denied, session %s, audit head %d %s.\n\n", exitCode, requests(p.AllowedTotal), requests(p.DeniedTotal), cell(s.Session), p.HeadSeq, cell(p.HeadHash))
	if len(p.Allowed)+len(p.Denied) == 0 {
		return b.String()
	}
	b.WriteString("| verdict | requests | target | rule |\n| --- | ---: | --- | --- |\n")
	row := func(verdict string, c proxyctl.Count) {
		rule := c.Rule
		if rule == "" {
			rule = "no rule"
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %s |\n", verdict, c.N, cell(c.Target), cell(rule))
	}
	for _, c := range p.Denied {
		row("denied", c)
	}
	for _, c := range p.Allowed {
		row("allowed", c)
	}
	b.WriteString("\n")
	return b.String()
}

// cell renders hostile text so that it stays one table cell and starts no
// Markdown or HTML of its own.
func cell(s string) string {
	s = text.Clip(text.Escape(s), 200)
	return "<code>" + strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "|", "&#124;", "`", "&#96;", "\\", "&#92;", "[", "&#91;", "]", "&#93;", "*", "&#42;", "_", "&#95;").Replace(s) + "</code>"
}
