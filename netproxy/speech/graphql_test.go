package speech

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/penstock/penstock/policy"
)

func graphqlRule(t testing.TB, text string) *policy.GraphQL {
	t.Helper()
	f, err := policy.Parse("p", policy.User, []byte("version: 1\negress: {allow: [{host: a.example, graphql: "+text+"}]}"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.New([]*policy.File{f})
	if err != nil {
		t.Fatal(err)
	}
	return p.Rules()[0].GraphQL()
}

// TestOperations: what a hostile tool hides a mutation or a field in.
func TestOperations(t *testing.T) {
	const listed, unlisted = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a", "1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b"
	rule := graphqlRule(t, `{operations: [query], fields: [viewer, "issue*"], persisted: [`+listed+`]}`)
	query := func(q string, rest ...string) string {
		b, _ := json.Marshal(q)
		return `{"query":` + string(b) + strings.Join(rest, "") + `}`
	}
	const a = "a mutation is none of its operations"
	persisted := func(sum string) string {
		return `"extensions":{"persistedQuery":{"version":1,"sha256Hash":"` + sum + `"}}`
	}
	for name, tt := range map[string]struct{ body, want string }{
		"a query":               {query("{ viewer { login } }"), ""},
		"named":                 {query("query Q($n: Int = 1) { issues(first: $n) { id } __typename }", `,"operationName":"Q","variables":{"n":2}`), ""},
		"nulls":                 {query("{ viewer { x } }", `,"operationName":null,"variables":null,"extensions":null`), ""},
		"a comment":             {query("{ # mutation { x }\n viewer { x } }"), ""},
		"a text":                {query(`{ viewer(x: "} mutation { x }") { x } }`), ""},
		"a fragment":            {query("query { ...F } fragment F on Query { viewer { x } }"), ""},
		"batch":                 {"[" + query("{ viewer { x } }") + "," + query("{ issue { x } }") + "]", ""},
		"persisted":             {"{" + persisted(listed) + "}", ""},
		"persisted with query":  {query("{ viewer { x } }", ","+persisted(listed)), ""},
		"other extensions":      {query("{ viewer { x } }", `,"extensions":{"clientLibrary":{"name":"x"}}`), ""},
		"a mutation":            {query("mutation { viewer { x } }"), a},
		"a subscription":        {query("subscription { viewer { x } }"), "a subscription is none"},
		"beside a query":        {query("query A { viewer { x } } mutation B { x }", `,"operationName":"A"`), a},
		"in a batch":            {"[" + query("{ viewer { x } }") + "," + query("mutation { x }") + "]", a},
		"another field":         {query("{ viewer { x } secret { x } }"), `"secret" is none of its fields`},
		"an alias":              {query("{ viewer: secret { x } }"), `"secret" is none of its fields`},
		"in a fragment":         {query("{ ...F } fragment F on Query { viewer { x } ... on Query { ...G } } fragment G on Query { secret }"), `"secret" is none`},
		"inline":                {query("{ ... { secret } }"), `"secret" is none`},
		"skipped":               {query("query($x: Boolean!) { viewer { x } secret @skip(if: $x) }", `,"variables":{"x":true}`), `"secret" is none`},
		"introspection":         {query("{ __schema { types { name } } }"), `"__schema" is none`},
		"a circle":              {query("{ ...F } fragment F on Query { viewer { x } ...F }"), ""},
		"an empty circle":       {query("{ ...F } fragment F on Query { ...F }"), "asks for nothing"},
		"no fragment":           {query("{ viewer { x } ...F }"), "a fragment that is not there"},
		"a fragment twice":      {query("{ ...F } fragment F on Query { viewer } fragment F on Query { secret }"), "a fragment twice"},
		"an operation twice":    {query("query A { viewer } query A { viewer }"), "two operations"},
		"two without a name":    {query("{ viewer } { viewer }"), "two operations"},
		"behind a comment":      {query("{ viewer } # \r mutation { x }"), "odd end of a line"},
		"behind another":        {query("{ viewer } # \u2028 mutation { x }"), "odd end of a line"},
		"a NUL":                 {query("{ viewer } \x00"), "control character"},
		"a mark":                {query("\ufeff{ viewer }"), "control character"},
		"a block string":        {query(`{ viewer(x: """ " """) { x } }`), "block string"},
		"a type":                {query("{ viewer } type Query { x: Int }"), "not GraphQL"},
		"only a fragment":       {query("fragment F on Query { viewer }"), "not GraphQL"},
		"no query":              {`{}`, "not a request of GraphQL"},
		"an empty one":          {query(""), "not a request of GraphQL"},
		"no text":               {`{"query":{"a":1}}`, "not a request of GraphQL"},
		"variables as text":     {query("{ viewer }", `,"variables":"{}"`), "not a request of GraphQL"},
		"query in capitals":     {query("{ viewer }", `,"Query":"mutation { x }"`), "it has a key"},
		"query twice":           {`{"query":"{ viewer }","query":"mutation { x }"}`, "a key twice"},
		"an id":                 {`{"id":"1","query":"{ viewer }"}`, "it has a key"},
		"persisted, unlisted":   {"{" + persisted(unlisted) + "}", "none that it has under persisted"},
		"unlisted beside":       {query("{ viewer }", ","+persisted(unlisted)), "none that it has under persisted"},
		"persisted, a mutation": {query("mutation { x }", ","+persisted(listed)), a},
		"persisted in capitals": {query("{ viewer }", `,"extensions":{"PersistedQuery":{"version":1,"sha256Hash":"`+listed+`"}}`), "usual form"},
		"persisted by an id":    {query("{ viewer }", `,"extensions":{"persistedQuery":{"id":"x"}}`), "usual form"},
		"persisted by a number": {query("{ viewer }", `,"extensions":{"persistedQuery":{"version":1}}`), "usual form"},
		"deep":                  {query(strings.Repeat("{ viewer ", 2000) + strings.Repeat("}", 2000)), "not GraphQL, or too large"},
		"long":                  {query("{ " + strings.Repeat("viewer ", 20000) + "}"), "not GraphQL, or too large"},
	} {
		o, err := ReadOperations([]byte(tt.body))
		why := ""
		if err != nil {
			why = err.Error()
		} else if why = o.Judge(rule); why == "" {
			_ = o.About()
		}
		if (why == "") != (tt.want == "") || !strings.Contains(why, tt.want) || !printable(why) {
			t.Errorf("%s: %q, want %q", name, why, tt.want)
		}
	}
	if o, err := ReadOperations([]byte(query("mutation { any }"))); err != nil || o.Judge(graphqlRule(t, "{operations: [mutation]}")) != "" {
		t.Errorf("an allowed mutation: %v", err)
	}
}

// FuzzOperations: what is allowed as a query has no other operation in it, and no
// field of the root that is not listed, by a look that knows nothing of GraphQL but
// its words.
func FuzzOperations(f *testing.F) {
	f.Add(`{ viewer { login } }`)
	f.Add("query Q($n: Int) { a: viewer(first: $n, x: \"y\") @skip(if: true) { id } ...F } fragment F on Query { viewer }")
	f.Add("# x\n{ ... on Query { viewer } }")
	f.Add("mutation { x } query { viewer }")
	rule := graphqlRule(f, "{operations: [query], fields: [viewer]}")
	f.Fuzz(func(t *testing.T, text string) {
		b, err := json.Marshal(map[string]string{"query": text})
		if err != nil {
			t.Fatal(err)
		}
		o, err := ReadOperations(b)
		if err != nil {
			if !printable(err.Error()) {
				t.Errorf("%q", err)
			}
			return
		}
		if why := o.Judge(rule); why != "" {
			if !printable(why) {
				t.Errorf("%q", why)
			}
			return
		}
		if !printable(o.About()) || !strings.Contains(text, "viewer") && !strings.Contains(text, "__typename") {
			t.Errorf("%q asks for %s", text, o.About())
		}
		// Without texts and comments an operation is a word at the depth of the document.
		depth := 0
		var word strings.Builder
		for i := 0; i < len(text); i++ {
			c := text[i]
			if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || '0' <= c && c <= '9' {
				word.WriteByte(c)
				continue
			}
			if depth == 0 && (word.String() == "mutation" || word.String() == "subscription") && !strings.Contains(text[:i], "query") && !strings.Contains(text[:i], "fragment") {
				t.Errorf("%q has a %s", text, word.String())
			}
			word.Reset()
			switch c {
			case '{', '(', '[':
				depth++
			case '}', ')', ']':
				depth--
			case '#':
				for i < len(text) && text[i] != '\n' {
					i++
				}
			case '"':
				for i++; i < len(text) && text[i] != '"'; i++ {
					if text[i] == '\\' {
						i++
					}
				}
			}
		}
	})
}
