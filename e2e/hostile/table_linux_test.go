package hostile

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/hostile.md")

// table is where the list is kept.
func table() string { return filepath.Join("..", "..", "docs", "hostile.md") }

// rows are the columns that don't depend on the machine.
func rows(list []attempt) (out []string) {
	for i, a := range list {
		c := a.control.String()
		if a.alone != nil && a.control.kind != none {
			c = "in the test"
		}
		out = append(out, fmt.Sprintf("| %d | %s | %s | %s |", i+1, a.category, cell(a.name), cell(c)))
	}
	return out
}

func cell(s string) string { return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s) }

// TestTableIsCurrent holds docs/hostile.md to the list.
func TestTableIsCurrent(t *testing.T) {
	if *update {
		t.Skip("it is being written")
	}
	b, err := os.ReadFile(table())
	if err != nil {
		t.Fatal(err)
	}
	list := attempts()
	if want := fmt.Sprintf("%d attempts", len(list)); !strings.Contains(string(b), want) {
		t.Errorf("docs/hostile.md does not say %q: run go test ./e2e/hostile -update", want)
	}
	for _, row := range rows(list) {
		if !strings.Contains(string(b), row) {
			t.Errorf("docs/hostile.md lacks %q: run go test ./e2e/hostile -update", row)
		}
	}
}

// writeTable writes the list with what was observed, as the ordinary user.
func writeTable(t *testing.T, user string, list []attempt, results []outcome) {
	if !*update || user != "user" {
		return
	}
	var b, lines strings.Builder
	held, unproven := 0, 0
	for i := range results {
		if results[i].arrived == "" {
			held++
		}
	}
	for i, row := range rows(list) {
		seen := results[i].seen
		if results[i].arrived != "" {
			seen = "ARRIVED: " + results[i].arrived
		}
		note := ""
		if results[i].skipped {
			note = ", as without a pen on this machine"
			unproven++
		}
		fmt.Fprintf(&lines, "%s %s%s |\n", row, brief(seen), note)
	}
	fmt.Fprintf(&b, `# What a hostile tool tries

The list of %d attempts of the suite in e2e/hostile, written by
`+"`go test ./e2e/hostile -update`"+`. Each is made by a real program in a real pen, as
root, as an ordinary user, and as one under the privileged supervisor, and counts as
held only if nothing of it arrived outside: no packet, no DNS question, no byte at a
server, no change of the host's files or processes. TestHostileToolOnGvisor makes them in
the tier gvisor, but for those whose aim is penstock outside of the pen, and
TestHostileToolOnMicrovm in machines of their own: with the same outcome, verdicts and
reasons. What a tool tries against that
supervisor itself is in TestSupervisor. The control shows that the act can arrive where nothing holds
it. At the time of writing %d of %d were held; in %d of them the machine offered
nothing to try, and that is noted.

| # | category | attempt | control | what the tool saw |
| --- | --- | --- | --- | --- |
`, len(list), held, len(list), unproven)
	b.WriteString(lines.String())
	if err := os.WriteFile(table(), []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// brief is what a tool saw, in a few words and without what differs between
// two runs.
func brief(s string) string {
	for _, r := range []struct{ from, to string }{
		{`(?s)HTTP/[0-9.]+ ([0-9]{3})[^\r\n]*\r\n.*?\r\n\r\n`, "$1 "},
		{`/tmp/penstock-world-[0-9]+/home-[0-9]+`, "~"}, {`/tmp/penstock-hostile-[0-9]+`, "/tmp/host"},
		{`(pipe|socket):\[[0-9]+\]`, "$1"}, {`fd[0-9a-f]{2}:[0-9a-f:]+`, "fd00::1"}, {`198\.1[89]\.[0-9.]+`, "198.18.0.1"},
		{`PENSTOCK[0-9A-Za-z]{8,}`, "PENSTOCK…"}, {`map\[.*`, ""}, {`(?s)/proc/[0-9]+/`, "/proc/N/"}, {`0x[0-9a-f]{8,}`, "0x…"}, {`192\.0\.0\.8:[0-9]+`, "192.0.0.8"}, {`internal:[0-9]+`, "internal:PORT"}, {`hostile-[0-9]+`, "hostile"},
	} {
		s = regexp.MustCompile(r.from).ReplaceAllString(s, r.to)
	}
	s = strings.Map(func(r rune) rune {
		if r != '…' && (r < ' ' || r > '~' || strings.ContainsRune("|`<", r)) {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 110 {
		s = s[:110] + "…"
	}
	if s == "" {
		return "nothing"
	}
	return "`" + s + "`"
}
