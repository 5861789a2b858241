package speech

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/penstock/penstock/policy"
)

func jsonrpcRule(t testing.TB, text string) *policy.JSONRPC {
	t.Helper()
	f, err := policy.Parse("p", policy.User, []byte("version: 1\negress: {allow: [{host: a.example, jsonrpc: "+text+"}]}"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.New([]*policy.File{f})
	if err != nil {
		t.Fatal(err)
	}
	return p.Rules()[0].JSONRPC()
}

// TestCalls: what a hostile tool writes in the place of an allowed call.
func TestCalls(t *testing.T) {
	const mcp = `{methods: [ping, "notifications/*", tools/call], tools: [search, "read_*"]}`
	message := func(rest string) string { return `{"jsonrpc":"2.0","id":1,` + rest + `}` }
	const tool = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":{"a":1,"A":{"name":"x"}}}}`
	for name, tt := range map[string]struct{ body, want string }{
		"a call":                    {message(`"method":"ping"`), ""},
		"with spaces":               {" \r\n\t" + message(`"method" : "ping" , "params" : []`) + "\n", ""},
		"null params":               {message(`"method":"ping","params":null`), ""},
		"escaped":                   {message(`"method":"p\u0069ng"`), ""},
		"notification":              {`{"jsonrpc":"2.0","method":"notifications/initialized"}`, ""},
		"a tool":                    {tool, ""},
		"a tool by pattern":         {message(`"method":"tools/call","params":{"name":"read_file"}`), ""},
		"a batch":                   {"[" + tool + "," + message(`"method":"ping"`) + "]", ""},
		"a pair":                    {message(`"method":"ping","params":{"x":"\ud83d\ude00 \\ud83d"}`), ""},
		"another method":            {message(`"method":"tools/list"`), `"tools/list" is none of its methods`},
		"another tool":              {message(`"method":"tools/call","params":{"name":"exec"}`), `tool "exec" is none`},
		"capitals":                  {message(`"method":"Ping"`), `"Ping" is none of its methods`},
		"a NUL":                     {message(`"method":"ping\u0000x"`), `is none of its methods`},
		"a space":                   {message(`"method":"ping "`), `is none of its methods`},
		"no tool":                   {message(`"method":"tools/call","params":{}`), "does not name it"},
		"a list of tools":           {message(`"method":"tools/call","params":["search"]`), "does not name it"},
		"no params":                 {message(`"method":"tools/call"`), "does not name it"},
		"a number for a tool":       {message(`"method":"tools/call","params":{"name":1}`), "does not name it"},
		"in a batch":                {"[" + tool + "," + message(`"method":"tools/call","params":{"name":"exec"}`) + "]", `tool "exec" is none`},
		"a batch in a batch":        {"[[" + tool + "]]", "not a message"},
		"no batch":                  {"[]", "batch is empty"},
		"a large batch":             {"[" + strings.Repeat(tool+",", 1000) + tool + "]", "more than 1000"},
		"method twice":              {message(`"method":"ping","method":"exec"`), "a key twice"},
		"method twice, escaped":     {message(`"method":"ping","\u006dethod":"exec"`), "a key twice"},
		"method in capitals":        {message(`"method":"ping","Method":"exec"`), "has not: \"Method\""},
		"a key of its own":          {message(`"method":"ping","x":1`), "has not"},
		"name twice":                {message(`"method":"tools/call","params":{"name":"search","name":"exec"}`), "a key twice"},
		"name in capitals":          {message(`"method":"tools/call","params":{"name":"search","Name":"exec"}`), "taken for name"},
		"name in a long s":          {message(`"method":"tools/call","params":{"NAME":"exec","name":"search"}`), "taken for name"},
		"params twice":              {message(`"method":"tools/call","params":{"name":"search"},"params":{"name":"exec"}`), "a key twice"},
		"deep twice":                {message(`"method":"ping","params":{"x":[{"a":1,"a":2}]}`), "a key twice"},
		"version 1":                 {`{"id":1,"method":"ping"}`, "not a message"},
		"another version":           {`{"jsonrpc":2.0,"id":1,"method":"ping"}`, "not a message"},
		"no method":                 {message(`"params":{}`), "not a message"},
		"an empty method":           {message(`"method":""`), "not a message"},
		"a method that is no text":  {message(`"method":["ping"]`), "not a message"},
		"params that are text":      {message(`"method":"ping","params":"x"`), "not a message"},
		"an id that is an object":   {`{"jsonrpc":"2.0","id":{},"method":"ping"}`, "not a message"},
		"an answer":                 {message(`"result":{}`), "it answers the server"},
		"an answer and a call":      {message(`"result":{},"method":"ping"`), "not a message"},
		"two answers":               {message(`"result":{},"error":{}`), "not a message"},
		"text":                      {`"ping"`, "not a message"},
		"nothing":                   {"", "not JSON"},
		"two documents":             {message(`"method":"ping"`) + message(`"method":"exec"`), "not JSON"},
		"something behind":          {message(`"method":"ping"`) + "x", "not JSON"},
		"a comment":                 {"/* */" + message(`"method":"ping"`), "not JSON"},
		"a comma":                   {message(`"method":"ping",`), "not JSON"},
		"single quotes":             {`{'jsonrpc':'2.0','id':1,'method':'ping'}`, "not JSON"},
		"a mark":                    {"\ufeff" + message(`"method":"ping"`), "not JSON"},
		"Latin-1":                   {message("\"method\":\"ping\",\"params\":[\"\xe9\"]"), "not JSON"},
		"half a pair":               {message(`"method":"ping","params":["\ud83d"]`), "half a surrogate"},
		"the other half":            {message(`"method":"ping","params":["\ude00"]`), "half a surrogate"},
		"two halves":                {message(`"method":"ping","params":["\ud83d\ud83d"]`), "half a surrogate"},
		"half a pair in the method": {message(`"method":"ping\ud83d"`), "half a surrogate"},
		"deep":                      {message(`"method":"ping","params":` + strings.Repeat("[", 100) + strings.Repeat("]", 100)), "nested deeper"},
		"NaN":                       {message(`"method":"ping","params":[NaN]`), "not JSON"},
	} {
		c, err := ReadCalls([]byte(tt.body))
		why := ""
		if err != nil {
			why = err.Error()
		} else {
			why = c.Judge(jsonrpcRule(t, mcp))
		}
		if (why == "") != (tt.want == "") || !strings.Contains(why, tt.want) || !printable(why) {
			t.Errorf("%s: %q, want %q", name, why, tt.want)
		}
	}
	answer := []byte(message(`"error":{"code":1,"message":""}`))
	if c, err := ReadCalls(answer); err != nil || c.Judge(jsonrpcRule(t, "{methods: [ping], answers: true}")) != "" {
		t.Errorf("an allowed answer: %v", err)
	}
	if c, err := ReadCalls([]byte(tool)); err != nil || c.Judge(jsonrpcRule(t, "{methods: ['*']}")) != "" || c.Judge(jsonrpcRule(t, "{methods: [ping]}")) == "" {
		t.Errorf("any tool: %v", err)
	}
	if c, _ := ReadCalls([]byte(message(`"method":"ping","params":["` + strings.Repeat("x", 1<<20) + `"]`))); c == nil || c.Judge(jsonrpcRule(t, "{methods: [ping]}")) != ErrLong.Error() || c.Judge(jsonrpcRule(t, "{methods: [ping], max_body: 2MiB}")) != "" {
		t.Error("a long one")
	}
}

// FuzzCalls: what is taken for a call of an allowed method is one for a parser that
// takes the first of two keys, one that takes the last and one that does not tell
// capitals from small letters.
func FuzzCalls(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":{}}}`))
	f.Add([]byte(`[{"jsonrpc":"2.0","method":"ping"},{"jsonrpc":"2.0","id":"\ud83d\ude00","result":null}]`))
	f.Add([]byte(`{"jsonrpc":"2.0","method":"ping","Method":"x","params":[{"a":1,"a":2}]}`))
	rule := jsonrpcRule(f, "{methods: [ping, tools/call], tools: [search]}")
	f.Fuzz(func(t *testing.T, doc []byte) {
		c, err := ReadCalls(doc)
		if err != nil {
			if !printable(err.Error()) {
				t.Errorf("%q", err)
			}
			return
		}
		if why := c.Judge(rule); why != "" || !printable(c.About()) {
			if !printable(why + c.About()) {
				t.Errorf("%q %q", why, c.About())
			}
			return
		}
		type message struct { // encoding/json takes the last, in any letters
			Method string
			Params any
		}
		var list []message
		if json.Unmarshal(doc, &list) != nil {
			var one message
			if err := json.Unmarshal(doc, &one); err != nil {
				t.Fatal(err)
			}
			list = []message{one}
		}
		for _, m := range list {
			switch m.Method {
			case "ping":
			case "tools/call":
				params, _ := m.Params.(map[string]any)
				for k, v := range params {
					if strings.EqualFold(k, "name") && v != "search" {
						t.Errorf("tool %v is called", v)
					}
				}
			default:
				t.Errorf("%q is called", m.Method)
			}
		}
	})
}
