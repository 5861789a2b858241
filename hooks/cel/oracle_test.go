package cel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"

	"github.com/penstock/penstock/hooks"
)

// view is a request as cel-go sees it.
type view struct{ r *hooks.Request }

func (v view) ResolveName(name string) (any, bool) { return v, name == "request" }
func (v view) Parent() cel.Activation              { return nil }

func (v view) get(name string) (any, bool) {
	switch name {
	case "host":
		return v.r.Target.Name(), true
	case "method":
		return v.r.Method, true
	case "path":
		return v.r.Path, true
	case "protocol":
		return v.r.Protocol.String(), true
	case "query":
		return v.r.Query, true
	case "port":
		return int64(v.r.Target.Port), true
	case "size":
		return v.r.Size, v.r.Size >= 0
	case "headers":
		m := map[string]string{}
		for k, list := range v.r.Header {
			m[strings.ToLower(k)] = strings.Join(list, ", ")
		}
		return m, true
	}
	return nil, false
}

// provider tells cel-go of the request's fields.
type provider struct {
	*types.Registry
	typ *types.Type
}

func (p provider) FindStructType(name string) (*types.Type, bool) {
	return types.NewTypeTypeWithParam(p.typ), name == p.typ.TypeName()
}

func (p provider) FindStructFieldType(_, name string) (*types.FieldType, bool) {
	t := types.StringType
	switch name {
	case "port", "size":
		t = types.IntType
	case "headers":
		t = types.NewMapType(types.StringType, types.StringType)
	}
	return &types.FieldType{Type: t,
		IsSet: func(v any) bool { _, ok := v.(view).get(name); return ok },
		GetFrom: func(v any) (any, error) {
			x, ok := v.(view).get(name)
			if !ok {
				return nil, errors.New("not set")
			}
			return x, nil
		}}, slices.Contains(requestObject(true, true).fieldNames(), name)
}

func oracle(t testing.TB) *cel.Env {
	t.Helper()
	reg, err := types.NewRegistry()
	if err != nil {
		t.Fatal(err)
	}
	p := provider{reg, types.NewObjectType("penstock.Request")}
	env, err := cel.NewEnv(cel.CustomTypeAdapter(reg), cel.CustomTypeProvider(p), cel.Variable("request", p.typ), ext.Strings())
	if err != nil {
		t.Fatal(err)
	}
	return env
}

// requests that expressions are tried on.
func requests() []*hooks.Request {
	host := hooks.Target{Host: "a.example", Port: 443}
	return []*hooks.Request{
		{Protocol: hooks.ProtocolHTTPS, Target: host, Method: "GET", Path: "/x/y", Query: "a=1", Size: 0,
			Header: http.Header{"Accept": {"text/html"}, "X-Two": {"1", "2"}, "X-N": {"42"}}},
		{Protocol: hooks.ProtocolHTTP, Target: hooks.Target{Addr: netip.MustParseAddr("2001:db8::1"), Port: 80}, Method: "POST", Path: "/", Size: -1},
		{Protocol: hooks.ProtocolHTTPS, Target: host, Method: "PUT", Path: "/X/\u00e9\xff", Size: 1 << 40,
			Header: http.Header{"X-N": {"-9223372036854775809"}, "Accept": {""}}},
	}
}

// agree holds one expression to cel-go's reading of it, and says whether it is
// one of ours.
func agree(t testing.TB, env *cel.Env, text string) bool {
	t.Helper()
	c, err := Language{}.Compile(text)
	if err != nil {
		var e *hooks.ConditionError
		if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 || e.Message == "" {
			t.Errorf("%q: error without a place: %#v", text, err)
		}
		return false
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		t.Errorf("%q compiles here, and not in CEL: %v", text, issues.Err())
		return true
	}
	if out := checked.OutputType(); !out.IsExactType(cel.BoolType) {
		t.Errorf("%q is %s in CEL", text, out)
	}
	program, err := env.Program(checked)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	for i, r := range requests() {
		got, err := c.Holds(r)
		if errors.Is(err, errCost) {
			continue
		}
		want, _, werr := program.Eval(view{r})
		switch {
		case (err != nil) != (werr != nil):
			t.Errorf("%q of request %d: %v, %v; in CEL %v, %v", text, i, got, err, want, werr)
		case err == nil && want.Value() != got:
			t.Errorf("%q of request %d is %v, in CEL %v", text, i, got, want)
		}
	}
	return true
}

// good are expressions of every kind.
var good = []string{
	`request.path.startsWith("/x/") && request.size < 1000000`,
	`request.method == "GET" || request.method == 'POST'`,
	`request.method in ["GET", "HEAD",]`, `request.port in [443, 0x1BB, -1]`,
	`"accept" in request.headers && request.headers["accept"] == "text/html"`,
	`"Accept" in request.headers`, `request.headers["x-two"] == "1, 2"`, `request.headers.accept.contains("html")`,
	`has(request.size) ? request.size <= 10 : request.method == "GET"`, `has(request.headers.accept)`, `has(request.headers)`, `has(request.host)`,
	`!has(request.size) || request.size > 5`, `request.size < 10 || true`, `true || request.size < 10`, `request.size < 10 && false`, `false && request.size < 10`,
	`request.size / 0 == 1`, `request.port % 7 == 2`, `-request.port < 0`, `--request.port > 0`, `!!true`, `- 5 == -5`, `1 - -1 == 2`,
	`9223372036854775807 + request.port > 0`, `-9223372036854775808 == -9223372036854775807 - 1`, `request.size * 9223372036854775807 == 0`, `-(-9223372036854775807 - 1) == 0`,
	`(request.size + 1) * 2 - 3 == -1`, `2 + 3 * 4 - 8 / 3 % 2 == 14`, `1 < 2 == true`, `true > false`, `"a" < "b"`, `request.path >= "/x"`, `true != false`,
	`request.path.matches("^/[a-z]/")`, `matches(request.path, r"\w")`, `request.path.matches('')`, `request.path.matches("(?i)^/X")`,
	`request.path.endsWith("y") == request.path.contains("y")`, `request.query == "a=1"`, `request.host.size() == 9`, `size(request.path) == 4`, `request.headers.size() > 0`, `size(request.headers) == 0`,
	`request.host.lowerAscii() == request.host`, `request.protocol + "://" + request.host == "https://a.example"`,
	`int(request.headers["x-n"]) > 40`, `string(request.port) == "443"`, `int(5) == 5`, `string("a") == "a"`, `bool(true)`, `int("0x10") == 1`, `int(" 1") == 1`, `int("+1") == 1`, `int("1_0") == 10`,
	`["/x/", "/z/"].exists(p, request.path.startsWith(p))`, `[1, 2].all(n, n < request.port)`, `["a"].exists(a, ["b"].all(b, a != b))`,
	`["a", "b"].exists(p, request.headers[p] == "x")`, `["accept", "b"].exists(p, request.headers[p] == "text/html")`, `["accept", "b"].all(p, request.headers[p] == "q")`,
	`["a"].exists(request_, ["b"].exists(request_, request_ == "b"))`,
	"request.path == '''/x/y''' // why\n || request.path == \"\"\"a\nb\"\"\"", `"\x41\u0042\U00000043\104\n\t\"\\" != 'ABCD\?\` + "`" + `'`, `r"\d" == "\\d"`, `R'a' == "a"`,
	`request.port == 443 ? true : request.port == 80 ? false : true`, `(true)`, `((request.path)) == "/"`, "\t true\r\n", "'''a\r\nb''' == 'a\\nb'",
	`"\u00e9" == "é"`, `request.path.contains("é")`, `"é".size() == 1`, `request.headers [ "accept" ] . size ( ) == 9`,
}

// bad are not ours: no CEL at all, or a part of it that is not there.
var bad = []string{
	"", " ", "1", `"a"`, "request", "request.path", "request.headers", "[1]", "request.pth == 1", "pth == 1", "path == 'a'", "request.path == 1", "request.port == '1'",
	"request.size < 1.5", "request.size < 1u", "b'a' == b'a'", "null == null", "request.path.matches(request.query)", "request.path.matches('a' + 'b')", "request.path.matches('(')", "request.path.matches('((a{90}){90}){90}')",
	"request.path.startsWith()", "request.path.startsWith(1)", "request.path.startsWith('a', 'b')", "now()", "timestamp('2026-01-01T00:00:00Z') < timestamp('2027-01-01T00:00:00Z')",
	"true &&", "&& true", "true & true", "true | true", "request.port = 443", "(true", "true)", "'a", "'a\nb' == 'c'", "'\\q' == 'a'", "'\\ud800' == 'a'", "request.path[0] == 'a'",
	"has(request)", "has((request.size))", "has(request.headers['a'])", "has(request.zz)", "has(true)", "has()", "[].exists(x, true)", "['a', 1].exists(x, true)", "[request.host].exists(x, true)", "[[1]].exists(x, true)",
	"['a'].exists(request, true)", "['a'].exists(in, true)", "['a'].exists(x, 'b')", "['a'].map(x, x) == ['a']", "['a'] == ['a']", "['a'].exists(a, ['b'].exists(b, ['c'].exists(c, true)))", "['a'].exists(x, true) && x == 'a'",
	"request == request", "request.headers == request.headers", "{'a': 'b'} == {}", "request{}", "true ? 1 : 'a'", "1 ? true : false", "!1", "-'a'", "-true", "!-1", "1 + 'a'", "'a' - 'b'", "99999999999999999999 > 1", "1x == 1", "true true", "request.path.", "request.in", "in == 1", "a.b.c", ".request.path == 'a'",
	"request.path in request.path", "1 in ['a']", "1 in request.headers", "request.headers[1] == 'a'", "size(true) == 1", "size([1]) == 1", "int(true) == 1", "string(true) == 'true'", "bool('true')", "request.headers.keys() == 1", "\x00", "true \u00e9",
	strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200), strings.Repeat("!", 5000) + "true", "true || " + strings.Repeat("true || ", 600) + "true",
	strings.Repeat("request.headers[", 100) + "'a'" + strings.Repeat("]", 100) + " == 'a'",
}

// TestMeansWhatCELMeans compares types and values with cel-go's.
func TestMeansWhatCELMeans(t *testing.T) {
	env := oracle(t)
	for _, text := range good {
		if !agree(t, env, text) {
			_, err := Language{}.Compile(text)
			t.Errorf("%q does not compile: %v", text, err)
		}
	}
	for _, text := range bad {
		if agree(t, env, text) {
			t.Errorf("%q compiles", text)
		}
	}
}

// TestRandomExpressions compares made-up expressions with cel-go's reading.
func TestRandomExpressions(t *testing.T) {
	env := oracle(t)
	n, ours := 6000, 0
	if testing.Short() {
		n = 500
	}
	g := rand.New(rand.NewPCG(1, 2))
	for range n {
		if agree(t, env, random(g, tBool, 4)) {
			ours++
		}
		if t.Failed() {
			return
		}
	}
	if ours < n*9/10 {
		t.Errorf("only %d of %d made-up expressions compile", ours, n)
	}
}

// random makes an expression of a type.
func random(g *rand.Rand, want typ, depth int) string {
	one := func(of ...string) string { return of[g.IntN(len(of))] }
	sub := func(t typ) string { return random(g, t, depth-1) }
	if depth == 0 {
		switch want {
		case tBool:
			return one("true", "false", "has(request.size)", `"accept" in request.headers`, "has(request.headers.zz)")
		case tInt:
			return one("0", "1", "-7", "443", "0x10", "request.port", "request.size", "9223372036854775807")
		}
		return one(`""`, `"/x/"`, `'GET'`, `r"\a"`, "request.host", "request.method", "request.path", "request.query", "request.protocol", `request.headers["accept"]`, "request.headers.zz", `"x-n"`)
	}
	switch want {
	case tBool:
		switch g.IntN(9) {
		case 0, 1:
			return sub(tBool) + one(" && ", " || ") + sub(tBool)
		case 2:
			return "!(" + sub(tBool) + ")"
		case 3:
			t := []typ{tInt, tString, tBool}[g.IntN(3)]
			return "(" + sub(t) + ")" + one(" < ", " <= ", " > ", " >= ", " == ", " != ") + "(" + sub(t) + ")"
		case 4:
			return "(" + sub(tString) + ")." + one("startsWith", "endsWith", "contains") + "(" + sub(tString) + ")"
		case 5:
			return "(" + sub(tString) + ").matches(" + one(`"^/"`, `'[a-z]+$'`, `''`, `r'\d'`) + ")"
		case 6:
			return "(" + sub(tBool) + " ? " + sub(tBool) + " : " + sub(tBool) + ")"
		case 7:
			return `["/x/", "accept", ""].` + one("exists", "all") + "(v, " + sub(tBool) + one(" || ", " && ") + "v == (" + sub(tString) + "))"
		}
		return "(" + sub(tInt) + ")" + " in [1, 2, -443, 443]"
	case tInt:
		switch g.IntN(4) {
		case 0, 1:
			return "(" + sub(tInt) + one(" + ", " - ", " * ", " / ", " % ") + sub(tInt) + ")"
		case 2:
			return one("size", "int") + "(" + sub(tString) + ")"
		}
		return "-(" + sub(tInt) + ")"
	}
	switch g.IntN(4) {
	case 0:
		return "(" + sub(tString) + " + " + sub(tString) + ")"
	case 1:
		return "string(" + sub(tInt) + ")"
	case 2:
		return "request.headers[" + sub(tString) + "]"
	}
	return "(" + sub(tString) + ").lowerAscii()"
}

// FuzzCompile: nothing that a policy says panics, and what compiles is CEL.
func FuzzCompile(f *testing.F) {
	for _, text := range append(slices.Clone(good), bad...) {
		f.Add(text)
	}
	env := oracle(f)
	f.Fuzz(func(t *testing.T, text string) { agree(t, env, text) })
}

func ExampleLanguage() {
	c, err := Language{}.Compile(`request.path.startsWith("/my-bucket/") && request.size < 1000000`)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Holds(&hooks.Request{Path: "/my-bucket/a", Size: 10}))
	fmt.Println(c.Holds(&hooks.Request{Path: "/my-bucket/a", Size: -1}))
	// Output:
	// true <nil>
	// false request.size is not known: the body's length is not declared
}
