package speech

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/penstock/penstock/policy"
)

const (
	idA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	idB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	id0 = "0000000000000000000000000000000000000000"

	caps = "\x00 report-status side-band-64k object-format=sha1 agent=git/2"
)

// lines are pkt-lines; "" is a flush.
func lines(list ...string) string {
	var b []byte
	for _, l := range list {
		if l == "" {
			b = append(b, "0000"...)
		} else {
			b = appendPacket(b, l)
		}
	}
	return string(b)
}

func gitRule(t testing.TB, text string) *policy.Git {
	t.Helper()
	f, err := policy.Parse("p", policy.User, []byte("version: 1\negress: {allow: [{host: a.example, git: "+text+"}]}"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.New([]*policy.File{f})
	if err != nil {
		t.Fatal(err)
	}
	return p.Rules()[0].Git()
}

// TestReadPush: what a hostile tool writes in the place of a command list.
func TestReadPush(t *testing.T) {
	create := id0 + " " + idA + " refs/heads/x"
	const form = "it is not in the form of git (pkt-line)"
	long := []string{create + caps}
	for i := range maxCommands {
		long = append(long, fmt.Sprintf("%s %s refs/heads/%d", id0, idA, i))
	}
	for name, tt := range map[string]struct{ body, want string }{
		"a create":              {lines(create+caps, ""), ""},
		"with a line end":       {lines(create+caps+"\n", ""), ""},
		"two":                   {lines(create+caps, id0+" "+idA+" refs/heads/y", ""), ""},
		"a trial":               {"0000", ""},
		"a delete":              {lines(idA+" "+id0+" refs/heads/x"+caps, ""), ""},
		"shallow":               {lines("shallow "+idB, create+caps, ""), ""},
		"nothing":               {"", "ends within its commands"},
		"no flush":              {lines(create + caps), "ends within its commands"},
		"half a line":           {"00ff" + create, "ends within its commands"},
		"capital digits":        {strings.ToUpper("00a0") + create, form},
		"a sign":                {"+0a0" + create, form},
		"no length":             {"zzzz", form},
		"a delimiter":           {"0001", form},
		"an empty line":         {"0004", form},
		"a large line":          {"ffff", form},
		"behind the trial":      {"0000" + lines(create+caps, ""), "more behind its commands"},
		"behind a delete":       {lines(idA+" "+id0+" refs/heads/x"+caps, "") + "PACK", "more behind its commands"},
		"only shallow":          {lines("shallow "+idB, ""), "no commands"},
		"shallow later":         {lines(create+caps, "shallow "+idB, ""), "not in the form of git"},
		"shallow nonsense":      {lines("shallow x", create+caps, ""), "shallow"},
		"no capabilities":       {lines(create, ""), "not behind its first command"},
		"capabilities twice":    {lines(create+caps, id0+" "+idA+" refs/heads/y"+caps, ""), "not behind its first command"},
		"a second NUL":          {lines(create+caps+"\x00push-options", ""), "capabilities are malformed"},
		"a tab":                 {lines(create+caps+"\tpush-options", ""), "capabilities are malformed"},
		"push options":          {lines(create+caps+" push-options", "", "x=y", ""), "push options"},
		"push options, lined":   {lines(create+caps+"\npush-options", ""), "capabilities are malformed"},
		"a certificate":         {lines("push-cert\x00"+caps, "certificate version 0.1\n", "push-cert-end\n", ""), "signed"},
		"for a certificate":     {lines(create+caps+" push-cert=nonce", ""), "signed"},
		"another format":        {lines(create+"\x00object-format=sha256", ""), "object-format"},
		"two kinds":             {lines(create+caps, strings.Repeat("0", 64)+" "+strings.Repeat("a", 64)+" refs/heads/y", ""), "two kinds"},
		"ids of two kinds":      {lines(id0+" "+strings.Repeat("a", 64)+" refs/heads/x"+caps, ""), "form of git"},
		"capital id":            {lines(id0+" "+strings.ToUpper(idA)+" refs/heads/x"+caps, ""), "form of git"},
		"two spaces":            {lines(id0+"  "+idA+" refs/heads/x"+caps, ""), "form of git"},
		"neither":               {lines(id0+" "+id0+" refs/heads/x"+caps, ""), "neither creates nor deletes"},
		"twice":                 {lines(create+caps, idA+" "+idB+" refs/heads/x", ""), "two commands for one ref"},
		"too many":              {lines(append(long, "")...), "more than 1000"},
		"HEAD":                  {lines(id0+" "+idA+" HEAD"+caps, ""), "malformed"},
		"dots":                  {lines(id0+" "+idA+" refs/heads/../tags/x"+caps, ""), "malformed"},
		"a dot":                 {lines(id0+" "+idA+" refs/heads/./x"+caps, ""), "malformed"},
		"slashes":               {lines(id0+" "+idA+" refs/heads//x"+caps, ""), "malformed"},
		"a lock":                {lines(id0+" "+idA+" refs/heads/x.lock"+caps, ""), "malformed"},
		"a lock within":         {lines(id0+" "+idA+" refs/heads/x.lock/y"+caps, ""), "malformed"},
		"a revision":            {lines(id0+" "+idA+" refs/heads/x@{1}"+caps, ""), "malformed"},
		"a line within":         {lines(id0+" "+idA+" refs/heads/x\ny"+caps, ""), "malformed"},
		"a line before the NUL": {lines(id0+" "+idA+" refs/heads/x\n"+caps, ""), "malformed"},
		"a space":               {lines(id0+" "+idA+" refs/heads/x refs/heads/y"+caps, ""), "malformed"},
		"another alphabet":      {lines(id0+" "+idA+" refs/heads/\u0445"+caps, ""), "malformed"},
	} {
		p, err := ReadPush(strings.NewReader(tt.body))
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case tt.want == "" && p.Judge(gitRule(t, "{repos: [r], push: true, branches: ['**'], tags: ['**'], delete: true}")) != "":
			t.Errorf("%s: denied", name)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// TestJudgePush: commands under the rules that don't need the pack.
func TestJudgePush(t *testing.T) {
	const some = "{repos: [r], push: true, branches: ['agent/*'], tags: [v*]"
	for _, tt := range []struct{ rule, command, want string }{
		{some + "}", id0 + " " + idA + " refs/heads/agent/x", ""},
		{some + "}", id0 + " " + idA + " refs/heads/agent/x/y", "none of its branches"},
		{some + "}", id0 + " " + idA + " refs/heads/Agent/x", "none of its branches"},
		{some + "}", id0 + " " + idA + " refs/heads/v1", "none of its branches"},
		{some + "}", id0 + " " + idA + " refs/tags/v1", ""},
		{some + "}", id0 + " " + idA + " refs/tags/agent/x", "none of its tags"},
		{some + "}", id0 + " " + idA + " refs/agent/x", "neither a branch nor a tag"},
		{some + "}", id0 + " " + idA + " refs/for/agent/x", "neither a branch nor a tag"},
		{some + "}", idA + " " + id0 + " refs/heads/agent/x", "would be deleted"},
		{some + "}", idA + " " + idB + " refs/tags/v1", "would be moved"},
		{some + "}", idA + " " + idB + " refs/heads/agent/x", "would not be moved forward only"},
		{some + ", delete: true}", idA + " " + id0 + " refs/heads/agent/x", ""},
		{some + ", delete: true}", idA + " " + id0 + " refs/heads/main", "none of its branches"},
		{some + ", force: true}", idA + " " + idB + " refs/heads/agent/x", ""},
		{some + ", force: true}", idA + " " + idB + " refs/tags/v1", ""},
		{some + ", force: true}", idA + " " + id0 + " refs/heads/agent/x", "would be deleted"},
		{some + ", force: true}", idA + " " + idB + " refs/heads/main", "none of its branches"},
	} {
		p, err := ReadPush(strings.NewReader(lines(id0+" "+idA+" refs/heads/agent/first"+caps, tt.command, "")))
		if err != nil {
			t.Fatal(err)
		}
		why := p.Judge(gitRule(t, tt.rule))
		if (why == "") != (tt.want == "") || !strings.Contains(why, tt.want) {
			t.Errorf("%s under %s: %q, want %q", tt.command, tt.rule, why, tt.want)
		}
	}
}

// FuzzPush: no body makes the reader fail otherwise than with an error, and what it
// takes for commands is what git writes for them.
func FuzzPush(f *testing.F) {
	f.Add([]byte(lines(id0+" "+idA+" refs/heads/x"+caps, "")))
	f.Add([]byte(lines("shallow "+idB, idA+" "+idB+" refs/heads/x"+caps, idA+" "+id0+" refs/tags/y", "") + "PACK\x00\x00\x00\x02\x00\x00\x00\x01\x90\x01x\x9c\x03\x00\x00\x00\x00\x01"))
	f.Add([]byte("0000"))
	rule := gitRule(f, "{repos: [r], push: true, branches: ['**']}")
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := ReadPush(bytes.NewReader(body))
		if err != nil {
			if !printable(err.Error()) {
				t.Errorf("%q", err)
			}
			p.Report("x")
			return
		}
		var again []string
		for _, c := range p.Commands {
			l := c.Old + " " + c.New + " " + c.Ref
			if len(again) == 0 {
				l += "\x00"
			}
			again = append(again, l)
		}
		q, err := ReadPush(io.MultiReader(strings.NewReader(lines(append(again, "")...))))
		// The second has no capabilities, which name the format of long ids.
		if err != nil && !strings.Contains(err.Error(), "object-format") || err == nil && fmt.Sprint(q.Commands) != fmt.Sprint(p.Commands) {
			t.Errorf("%v, %v", err, p.Commands)
		}
		why := p.Judge(rule)
		if !printable(why) || !printable(p.About()) {
			t.Errorf("%q %q", why, p.About())
		}
		for _, c := range p.Commands {
			if why == "" && (!strings.HasPrefix(c.Ref, "refs/heads/") || zero(c.New)) {
				t.Errorf("%v is allowed", c)
			}
		}
	})
}

func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}
