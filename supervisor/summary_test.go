package supervisor

import (
	"strings"
	"testing"

	"github.com/penstock/penstock/supervisor/proxyctl"
)

func hostile() *summary {
	return &summary{Session: "20260102-150405-aaaaa", Mode: "enforce", Proxy: &proxyctl.Summary{
		AllowedTotal: 1, DeniedTotal: 3, HeadSeq: 9, HeadHash: "ab",
		Allowed: []proxyctl.Count{{Target: "a.example:443", Rule: "policy.yaml:3", N: 1}},
		Denied:  []proxyctl.Count{{Target: "evil\x1b[2J|<b>\n`x`.example:443", Allow: "x'; rm -rf ~ #", N: 3}},
		Notes:   []string{"a client\x9b31m pins"},
	}}
}

func TestSummaryIsEscaped(t *testing.T) {
	var b strings.Builder
	hostile().write(&b)
	out := b.String()
	if strings.Contains(out, "\x1b") || strings.Contains(out, "\x9b") || strings.Count(out, "\n") != 7 {
		t.Errorf("hostile bytes in the summary:\n%q", out)
	}
	if !strings.Contains(out, `--allow 'x'\''; rm -rf ~ #'`) {
		t.Errorf("the suggested command is not quoted:\n%s", out)
	}
	for _, want := range []string{"1 request allowed, 3 requests denied", "a.example:443  (policy.yaml:3)", "to allow it, run again with: --allow", "(no rule allows it)", "audit show 20260102-150405-aaaaa", "audit head: 9:ab"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestJobSummaryIsEscaped(t *testing.T) {
	out := hostile().markdown([]string{"make", "<script>"}, 2)
	if strings.ContainsAny(out, "\x1b`") || strings.Contains(out, "<script") || strings.Contains(out, "<b>") {
		t.Errorf("hostile bytes in the job summary:\n%s", out)
	}
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "|") && strings.Count(line, "|") != 5 {
			t.Errorf("row breaks out of the table: %q", line)
		}
	}
}

func TestQuietRunIsShort(t *testing.T) {
	var b strings.Builder
	(&summary{Session: "s", Proxy: &proxyctl.Summary{HeadSeq: 2, HeadHash: "ab"}}).write(&b)
	if strings.Count(b.String(), "\n") != 2 {
		t.Errorf("a run without requests says\n%s", b.String())
	}
}
