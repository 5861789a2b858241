package supervisor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/none"
)

// announcement is what is said before the command runs, and, as JSON, what
// --dry-run prints.
type announcement struct {
	Supervisor   string               `json:"supervisor"` // rootless | supervised
	Tier         string               `json:"tier"`
	Mode         string               `json:"mode"`
	Default      string               `json:"default"`
	Rules        int                  `json:"rules"`
	Policies     []string             `json:"policies"`
	Profile      string               `json:"profile,omitempty"`
	Command      []string             `json:"command"`
	Workdir      string               `json:"workdir"`
	Writable     []string             `json:"writable"`
	Protected    []string             `json:"protected"`
	Hidden       []string             `json:"hidden"`
	Secrets      []string             `json:"secrets"`
	Withheld     []string             `json:"withheld_variables"`
	Published    []string             `json:"published"`
	Worktree     *worktreeNote        `json:"worktree,omitempty"`
	Copy         *copyNote            `json:"copy,omitempty"`
	Capabilities []sandbox.Capability `json:"capabilities"`
	Warnings     []string             `json:"warnings"`
	Hints        []string             `json:"hints"`
}

// worktreeNote is what is said of the worktree at the start.
type worktreeNote struct {
	Branch     string `json:"branch"` // "" in a dry run: the name is not taken yet
	Repository string `json:"repository"`
	Base       string `json:"base"`
	Dir        string `json:"dir,omitempty"` // of its files on the host
}

// copyNote is what is said of the copy at the start.
type copyNote struct {
	ID   string `json:"id"` // "" in a dry run: none is made
	Work string `json:"work"`
	Dir  string `json:"dir,omitempty"` // of its files on the host
}

func escape(s string) string { return text.Escape(s) }

// brief says in a line or two what the pen is. Warnings are never left out.
func (a *announcement) brief(p *printer) {
	if !p.quiet {
		pen := a.Tier + " pen"
		if a.Tier == none.Name {
			pen = "session WITHOUT A SANDBOX"
		}
		p.line("%s %s in %s; %s", a.Supervisor, pen, escape(a.Workdir), a.rules())
		if w := a.Worktree; w != nil {
			branch := "a branch of its own"
			if w.Branch != "" {
				branch = "branch " + w.Branch
			}
			p.line("worktree: a copy of %s at %.12s, on %s", escape(w.Repository), w.Base, branch)
		}
	}
	if c := a.Copy; c != nil && !p.quiet {
		p.line("copy: it works on a copy of %s; the files themselves can't be changed", escape(c.Work))
	}
	for _, w := range a.Warnings {
		p.line("WARNING: %s", escape(w))
	}
	if p.quiet {
		return
	}
	for _, h := range a.Hints {
		p.line("note: %s", escape(h))
	}
	for _, s := range a.Published {
		p.line("published: %s", escape(s))
	}
}

// rules says in half a line what may leave the pen.
func (a *announcement) rules() string {
	var from []string
	for _, p := range a.Policies {
		from = append(from, strings.Replace(p, "profile:", "profile ", 1))
	}
	by := ""
	switch {
	case len(from) > 0:
		by = " (" + escape(strings.Join(from, ", ")) + ")"
	case a.Rules > 0:
		by = " (command line)"
	}
	switch {
	case a.Rules == 0 && a.Default == "deny":
		return "no rules" + by + ": every request is denied"
	case a.Rules == 0:
		return "no rules" + by + ", default " + a.Default
	case a.Rules == 1:
		return "1 rule" + by + ", default " + a.Default
	}
	return fmt.Sprintf("%d rules%s, default %s", a.Rules, by, a.Default)
}

// detail is the capability report and the file system, for -v and --dry-run.
func (a *announcement) detail(w io.Writer) {
	width := 14
	for _, c := range a.Capabilities {
		width = max(width, len(c.Control))
	}
	for _, c := range a.Capabilities {
		fmt.Fprintf(w, "  %-*s %-12s %s", width, escape(c.Control), c.State, escape(c.By))
		if c.Detail != "" {
			fmt.Fprintf(w, " (%s)", escape(c.Detail))
		}
		fmt.Fprintln(w)
		if c.Fix != "" {
			fmt.Fprintf(w, "  %-*s fix: %s\n", width, "", escape(c.Fix))
		}
	}
	list := func(what string, items []string) {
		if len(items) > 0 {
			fmt.Fprintf(w, "  %-*s %s\n", width, what, escape(strings.Join(items, " ")))
		}
	}
	list("writable", a.Writable)
	list("read-only", a.Protected)
	list("hidden", a.Hidden)
	list("secrets", a.Secrets)
	list("not passed", a.Withheld)
}

// dryRun prints the announcement instead of running anything.
func (a *announcement) dryRun(w io.Writer, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(a)
	}
	var b bytes.Buffer
	a.brief(&printer{w: &b})
	a.detail(&b)
	_, err := w.Write(b.Bytes())
	return err
}
