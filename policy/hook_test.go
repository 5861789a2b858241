package policy

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/cel"
)

// TestHooks add up, those of higher layers are asked first, and travel.
func TestHooks(t *testing.T) {
	p, err := layers(t, map[Layer]string{
		User:    "hooks: [{name: user-s, on: [request], hosts: ['*.a.example', 10.0.0.0/8], cel: '\"next\"', timeout: 2s, concurrency: 3}]",
		System:  "hooks: [{name: root-s, on: [request], cel: '\"deny: \" + request.path'}]",
		Project: "egress: {allow: [{host: b.a.example, inspect: false}, {host: a.example, inspect: false}]}",
	})
	if err == nil {
		p, err = p.CompileConditions(cel.Language{})
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, q := range map[string]*Policy{"as loaded": p, "travelled": resolved(t, roundTrip(t, p))} {
		h := q.Hooks()
		if len(h) != 2 || h[0].Name != "root-s" || h[1].Name != "user-s" || h[1].Timeout.Seconds() != 2 || h[1].Concurrency != 3 {
			t.Fatalf("%s: %+v", name, h)
		}
		if d, err := h[0].Compiled().Decide(t.Context(), req(t, "https://a.example/x")); d.Action != hooks.Deny || d.Reason != "/x" || err != nil {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
		for target, want := range map[string]bool{"https://b.a.example/": true, "https://a.example/": false, "https://10.1.2.3/": true, "https://11.1.2.3/": false, "https://xa.example/": false} {
			if r := req(t, target); h[1].About(&r.Target) != want || !h[0].About(&r.Target) {
				t.Errorf("%s: is user-s about %s? %t", name, target, !want)
			}
		}
	}
	// Which hook does not see what.
	var unread []string
	for _, w := range p.Warnings() {
		if strings.Contains(w.String(), "lets through unread") {
			unread = append(unread, w.String())
		}
	}
	if all := strings.Join(unread, "\n"); len(unread) != 3 || strings.Count(all, "hook root-s") != 2 || strings.Count(all, "hook user-s") != 1 {
		t.Errorf("warnings:\n%s", all)
	}
	if q, err := layers(t, map[Layer]string{User: "hooks: [{name: h, on: [connect], cel: b}]\negress: {allow: [{host: a.example, inspect: false}]}"}); err != nil || strings.Contains(fmt.Sprint(q.Warnings()), "unread") {
		t.Errorf("a hook that is asked about connections does not see one: %v, %v", q.Warnings(), err)
	}
	if h := roundTrip(t, p).Hooks(); h[0].Compiled() != nil {
		t.Error("what travels is compiled")
	}
}

// TestHookAboutAll: like a deny, a wildcard covers addresses and the host's name.
func TestHookAboutAll(t *testing.T) {
	for hosts, want := range map[string][]string{
		"'*'": {"a.example", "10.0.0.1", HostInternal}, "'*.internal'": {HostInternal}, HostInternal: {HostInternal}, "'::/0'": {},
	} {
		p := mustPolicy(t, "version: 1\nhooks: [{name: h, on: [request], hosts: ["+hosts+"], cel: '\"next\"'}]")
		got := []string{}
		for _, s := range []string{"a.example", "10.0.0.1", HostInternal} {
			r := req(t, "https://"+s+":443/")
			if p.Hooks()[0].About(&r.Target) {
				got = append(got, s)
			}
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s is about %v, not %v", hosts, got, want)
		}
	}
}

// TestWebhook travels without its key, stays in limits.egress, and its key stays
// out of the pen.
func TestWebhook(t *testing.T) {
	const one = "hooks: [{name: soc, on: [request], http: 'HTTPS://Hooks.example.:443/a/%62?c', key: 'env:SOC_KEY'}]"
	p, err := layers(t, map[Layer]string{User: one})
	if err != nil {
		t.Fatal(err)
	}
	q, err := roundTrip(t, p).CompileConditions(cel.Language{})
	if err != nil {
		t.Fatal(err)
	}
	if w := q.Hooks()[0].Asks.(*Webhook); w.URL != "https://hooks.example:443/a/b?c" || w.Key.Env != "SOC_KEY" || q.Hooks()[0].Compiled() != nil {
		t.Errorf("%+v", w)
	}
	for name, c := range map[string]struct {
		files map[Layer]string
		want  string
	}{
		"outside":            {map[Layer]string{System: "limits: {egress: ['*.other.example']}", User: one}, "the URL of hook soc is outside limits.egress"},
		"an address outside": {map[Layer]string{System: "limits: {egress: ['*', 10.0.0.0/8]}", User: "hooks: [{name: soc, on: [request], http: 'https://192.0.2.1/', key: 'env:K'}]"}, "outside limits.egress"},
		"key in the pen":     {map[Layer]string{User: one + "\nenvironment: {pass: [SOC_KEY]}"}, "SOC_KEY is the key of hook soc"},
	} {
		if _, err := layers(t, c.files); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Parse("f", System, []byte("version: 1\n"+one)); err == nil || !strings.Contains(err.Error(), "a hook of the system's policy can't be a webhook yet") {
		t.Errorf("the administrator's: %v", err)
	}
	if _, err := layers(t, map[Layer]string{System: "limits: {egress: ['*.example']}", User: one}); err != nil {
		t.Errorf("inside: %v", err)
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{`"https://hooks`, `"http://hooks`}, {`"key":{"env":"SOC_KEY"}`, `"key":{}`}, {`"key":{"env":"SOC_KEY"}`, `"key":{"env":"A B"}`}, {`"key":{"env":"SOC_KEY"}`, `"key":{"env":"A","file":"/k"}`}, {`"key":{"env":"SOC_KEY"}`, `"key":{"file":"k"}`}, {`"key":{"env":"SOC_KEY"}`, `"key":{"keyring":"b=c,a=b"}`}, {`"key":{"env":"SOC_KEY"}`, `"key":{"keyring":"a=b","every":1000000000}`}, {`hooks.example:443`, `host.penstock.internal:443`}} {
		forged := strings.Replace(string(b), c[0], c[1], 1)
		if forged == string(b) {
			t.Fatalf("%s is not in %s", c[0], b)
		}
		if err := json.Unmarshal([]byte(forged), new(Policy)); err == nil {
			t.Errorf("%s is believed", c[1])
		}
	}
	// A caller can't reach past the administrator's limits by JSON of his own.
	floor, err := Parse("/etc/penstock/policy.yaml", System, []byte("version: 1\nlimits: {egress: ['*.other.example']}"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := UnderFloor(floor, roundTrip(t, p)); err == nil || !strings.Contains(err.Error(), "outside limits.egress") {
		t.Errorf("under the floor: %v", err)
	}
}

// TestProgram: what a hook executes is named by the user's own files only, has
// absolute paths, and is the same after a way; that it has a network is said.
func TestProgram(t *testing.T) {
	const one = "hooks: [{name: a, on: [request], exec: [./route.py, ~/rules, '--x=./y', ''], network: true}, {name: b, on: [request], exec_once: [jq, .a]}]"
	p, err := layers(t, map[Layer]string{User: one})
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, q *Policy) {
		t.Helper()
		a, b := q.Hooks()[0].Asks.(*Program), q.Hooks()[1].Asks.(*Program)
		if len(a.Argv) != 4 || !filepath.IsAbs(a.Argv[0]) || filepath.Base(a.Argv[0]) != "route.py" || !filepath.IsAbs(a.Argv[1]) || a.Argv[2] != "--x=./y" || a.Once || !a.Network {
			t.Errorf("%s: %+v", name, a)
		}
		if strings.Join(b.Argv, " ") != "jq .a" || !b.Once || b.Network {
			t.Errorf("%s: %+v", name, b)
		}
	}
	check("as loaded", p)
	check("travelled", roundTrip(t, p))
	text := "version: 1\nhooks:\n"
	for i := range p.d.Hooks {
		text += "- " + hookText(&p.d.Hooks[i]) + "\n"
	}
	check("printed", mustPolicy(t, text))
	if w := p.Warnings(); len(w) != 1 || !w[0].Loosens || !strings.Contains(w[0].String(), "hook a has the host's network") {
		t.Errorf("warnings: %v", w)
	}
	for layer, want := range map[Layer]string{System: "can't be a process yet", Project: "a project's policy can't have a command executed", Profile: "a project's policy can't"} {
		if _, err := Parse("f", layer, []byte("version: 1\n"+one)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", layer, err)
		}
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{`"argv":["jq",".a"]`, `"argv":[]`}, {`"argv":["jq",".a"]`, `"argv":["a/b"]`}, {`"argv":["jq",".a"]`, `"argv":["/a/../b"]`}, {`"argv":["jq",".a"]`, `"argv":["a\u0000b"]`}, {`"layer":"user"`, `"layer":"project"`}, {`"layer":"user"`, `"layer":"system"`}} {
		forged := strings.ReplaceAll(string(b), c[0], c[1])
		if forged == string(b) {
			t.Fatalf("%s is not in %s", c[0], b)
		}
		if err := json.Unmarshal([]byte(forged), new(Policy)); err == nil {
			t.Errorf("%s is believed", c[1])
		}
	}
}

// TestOwnService: a service in Penstock's own protocol can be asked at every point, and may
// change bodies; what was asked as Envoy asks can't become one on its way, nor the reverse.
func TestOwnService(t *testing.T) {
	all := "on: [" + strings.Join(hooks.PointNames(), ", ") + "]"
	text := "version: 1\nhooks: [{name: a, " + all + ", grpc: 'https://a.example', protocol: penstock, change: body}, {name: b, on: [request], grpc: 'https://a.example', protocol: envoy}]"
	p := mustPolicy(t, text)
	printed := "version: 1\nhooks:\n"
	for i := range p.d.Hooks {
		printed += "- " + hookText(&p.d.Hooks[i]) + "\n"
	}
	for name, q := range map[string]*Policy{"as loaded": p, "travelled": roundTrip(t, p), "printed": mustPolicy(t, printed)} {
		a, b := q.Hooks()[0], q.Hooks()[1]
		if !a.Asks.(*Service).Own || len(a.Points()) != len(hooks.PointNames()) || !a.Inspect.Change || b.Asks.(*Service).Own {
			t.Errorf("%s: %+v, %+v", name, a, b)
		}
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if forged := strings.Replace(string(b), `,"own":true`, "", 1); forged == string(b) || json.Unmarshal([]byte(forged), new(Policy)) == nil {
		t.Errorf("asked as Envoy asks, it is believed at every point: %s", forged)
	}
	for hook, want := range map[string]string{
		"on: [request, dns], grpc: 'https://a.example'":                      "protocol: penstock",
		"on: [request_body], grpc: 'https://a.example', change: body":        "protocol: penstock",
		"on: [request], grpc: 'https://a.example', protocol: own":            "write envoy for",
		"on: [request], exec: [/a], protocol: penstock":                      "remove it",
		all + ", grpc: 'https://a.example', protocol: penstock, change: all": "write none or body",
	} {
		_, err := Parse("f", User, []byte("version: 1\nhooks:\n- {name: a, "+hook+"}"))
		if err == nil || !strings.HasPrefix(err.Error(), "f:3:") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", hook, err)
		}
	}
}

// TestService travels, stays in limits.egress, and says what it opens.
func TestService(t *testing.T) {
	const one = "hooks: [{name: opa, on: [request], grpc: 'HTTP://127.0.0.1:9191/'}, {name: corp, on: [request], grpc: 'https://Authz.example', addresses: [10.0.0.0/8], client_cert: ~/c.pem, client_key: ~/k.pem}]"
	p, err := layers(t, map[Layer]string{User: one})
	if err != nil {
		t.Fatal(err)
	}
	text := "version: 1\nhooks:\n"
	for i := range p.d.Hooks {
		text += "- " + hookText(&p.d.Hooks[i]) + "\n"
	}
	for name, q := range map[string]*Policy{"as loaded": p, "travelled": roundTrip(t, p), "printed": mustPolicy(t, text)} {
		a, b := q.Hooks()[0].Asks.(*Service), q.Hooks()[1].Asks.(*Service)
		if a.URL != "http://127.0.0.1:9191" || b.URL != "https://authz.example:443" || !filepath.IsAbs(b.Client.Key) {
			t.Errorf("%s: %+v, %+v", name, a, b)
		}
		if got := fmt.Sprint(q.Reach()); got != "[{10.0.0.0/8 443 443} {127.0.0.1/32 9191 9191}]" {
			t.Errorf("%s: reaches %s", name, got)
		}
	}
	if d := mustPolicy(t, "version: 1\nhooks: [{name: a, on: [request], grpc: 'https://a.example'}]").Hooks()[0].Asks.(*Service).Dial(); d != nil {
		t.Errorf("a public name opens %v", d)
	}
	if _, err := Parse("f", System, []byte("version: 1\n"+one)); err == nil || !strings.Contains(err.Error(), "can't be a service yet") {
		t.Errorf("the administrator's: %v", err)
	}
	for limit, want := range map[string]bool{"[127.0.0.0/8, authz.example]": true, "['*']": false, "[127.0.0.0/8]": false} {
		if _, err := layers(t, map[Layer]string{System: "limits: {egress: " + limit + "}", User: one}); (err == nil) != want {
			t.Errorf("%s: %v", limit, err)
		}
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{`"http://127.0.0.1:9191"`, `"http://10.0.0.1:9191"`}, {`"on":["request"]`, `"on":["connect"]`}, {`"10.0.0.0/8"`, `"10.0.0.1/8"`}, {`c.pem"`, `c.pem\n"`}, {`"client":{`, `"client":{"x":1,`}} {
		forged := strings.Replace(string(b), c[0], c[1], 1)
		if forged == string(b) {
			t.Fatalf("%s is not in %s", c[0], b)
		}
		if err := json.Unmarshal([]byte(forged), new(Policy)); err == nil {
			t.Errorf("%s is believed", c[1])
		}
	}
}

func TestHookErrors(t *testing.T) {
	hook := func(cel string) string { return "version: 1\nhooks:\n  - {name: h, on: [request], cel: '" + cel + "'}" }
	for text, want := range map[string]string{
		hook("request.size < 10"):  "f:3:35: cel: the expression is of type bool, not string",
		hook("request.pth"):        `f:3:35: cel: request has no field "pth"`,
		hook(`"next" + `):          "there is the end where a value should be",
		hook(`request.port == ""`): "== is not there for int and string",
	} {
		f, err := Parse("f", User, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.CheckConditions(cel.Language{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	one := "hooks: [{name: h, on: [request], cel: '\"next\"'}]"
	if _, err := layers(t, map[Layer]string{System: one, Project: one}); err == nil || !strings.Contains(err.Error(), "hook h is here and at ") {
		t.Errorf("one name twice: %v", err)
	}
	many := "hooks:\n"
	for i := range 33 {
		many += "- {name: h" + strings.Repeat("h", i) + ", on: [request], cel: '\"next\"'}\n"
	}
	if _, err := layers(t, map[Layer]string{User: many}); err == nil || !strings.Contains(err.Error(), "33 hooks, more than 32") {
		t.Errorf("many: %v", err)
	}
}

// TestHookForged: a caller's hook is checked like a file's, and the
// administrator's can be neither left out nor replaced.
func TestHookForged(t *testing.T) {
	b, err := json.Marshal(mustPolicy(t, "version: 1\nhooks: [{name: h, on: [request], hosts: [a.example], cel: '\"next\"', timeout: 1s, concurrency: 1}]"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{
		{`"name":"h"`, `"name":"H"`}, {`"on":["request"]`, `"on":[]`}, {`"on":["request"]`, `"on":["none"]`}, {`"on":["request"]`, `"on":["request","request"]`},
		{`"timeout_ns":1000000000`, `"timeout_ns":-1`}, {`"timeout_ns":1000000000`, `"timeout_ns":99000000000`}, {`"concurrency":1`, `"concurrency":-1`}, {`"concurrency":1`, `"concurrency":100000`},
		{`"text":"\"next\""`, `"text":""`}, {`"cel":{`, `"exec":{`}, {`"cel":{`, `"http":{"url":"https://a.example/","key":{"env":"A"}},"cel":{`}, {`"asks":{`, `"asks":{},"ask":{`}, {`"pattern":"a.example"`, `"pattern":"a*b"`},
	} {
		forged := strings.Replace(string(b), c[0], c[1], 1)
		if forged == string(b) {
			t.Fatalf("%s is not in %s", c[0], b)
		}
		if err := json.Unmarshal([]byte(forged), new(Policy)); err == nil {
			t.Errorf("%s is believed", c[1])
		}
	}
	floor, err := Parse("/etc/penstock/policy.yaml", System, []byte("version: 1\nhooks: [{name: root-s, on: [request], cel: '\"deny\"'}]"))
	if err != nil {
		t.Fatal(err)
	}
	for name, layer := range map[string]Layer{"left out": User, "posed": System} {
		f, err := Parse("mine.yaml", layer, []byte("version: 1\nhooks: [{name: mine, on: [request], cel: '\"next\"'}]"))
		if err != nil {
			t.Fatal(err)
		}
		client, err := New([]*File{f})
		if err != nil {
			t.Fatal(err)
		}
		p, err := UnderFloor(floor, roundTrip(t, client))
		if err != nil {
			t.Fatal(err)
		}
		h := p.Hooks()
		if h[0].Name != "root-s" || len(h) != map[Layer]int{User: 2, System: 1}[layer] {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

// TestHookBodies: the keys about bodies travel, are shown as they are read, and are
// in their bounds.
func TestHookBodies(t *testing.T) {
	const one = "{name: a, on: [request_body], cel: \"b\", body: stream, overlap: 1KiB, max_body: 1GiB, over: next, encoded: raw}"
	p := mustPolicy(t, "version: 1\nhooks: ["+one+"]")
	want := hooks.Inspect{Stream: true, Overlap: 1 << 10, Max: 1 << 30, Over: true, Raw: true}
	for name, q := range map[string]*Policy{"as loaded": p, "travelled": roundTrip(t, p)} {
		if h := q.Hooks()[0]; h.Inspect != want || !strings.Contains(hookText(&h), "body: stream, overlap: 1KiB, max_body: 1GiB, over: next, encoded: raw") {
			t.Errorf("%s: %+v, %s", name, h.Inspect, hookText(&h))
		}
	}
	for keys, why := range map[string]string{
		"max_body: 9MiB":               "too large for bodies that are asked about as a whole",
		"body: stream, overlap: 65KiB": "too long",
		"overlap: 1KiB":                "overlap has no meaning",
		"body: stream, over: next":     "over has no meaning without max_body",
		"change: body":                 "who is asked by cel can't change a body",
	} {
		if _, err := Parse("f", User, []byte("version: 1\nhooks: [{name: a, on: [request_body], cel: b, "+keys+"}]")); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", keys, err)
		}
	}
	for on, why := range map[string]string{"websocket": "encoded has no meaning", "request": "asked about no bodies"} {
		if _, err := Parse("f", User, []byte("version: 1\nhooks: [{name: a, on: ["+on+"], cel: b, encoded: raw}]")); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", on, err)
		}
	}
	const module = ", sha256: " + "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
	changing := mustPolicy(t, "version: 1\nhooks: [{name: a, on: [request_body, websocket], wasm: a.wasm"+module+", change: body}]")
	for name, q := range map[string]*Policy{"as loaded": changing, "travelled": roundTrip(t, changing)} {
		if h := q.Hooks()[0]; !h.Inspect.Change || !strings.HasSuffix(hookText(&h), ", change: body}") {
			t.Errorf("%s: %+v, %s", name, h.Inspect, hookText(&h))
		}
	}
	for keys, why := range map[string]string{
		"on: [websocket]":                                "asked about no whole bodies",
		"on: [request]":                                  "asked about no bodies",
		"on: [request_body], body: stream":               "asked about in parts",
		"on: [request_body], max_body: 1MiB, over: next": "sees the beginning only",
		"on: [response_body], encoded: raw":              "that is not decoded",
	} {
		if _, err := Parse("f", User, []byte("version: 1\nhooks: [{name: a, wasm: a.wasm"+module+", change: body, "+keys+"}]")); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", keys, err)
		}
	}
	b, err := json.Marshal(changing)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{`"request_body",`, ``}, {`"change":true`, `"change":true,"stream":true`}, {`"change":true`, `"change":true,"raw":true`}, {`"change":true`, `"change":true,"over":true`}} {
		forged := strings.Replace(string(b), c[0], c[1], 1)
		if forged == string(b) {
			t.Fatalf("%s is not in %s", c[0], b)
		}
		if err := json.Unmarshal([]byte(forged), new(Policy)); err == nil {
			t.Errorf("%s is believed", c[1])
		}
	}
	if b, err = json.Marshal(p); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{`"overlap":1024`, `"overlap":99999`}, {`"overlap":1024`, `"overlap":-1`}, {`"max":1073741824`, `"max":-1`}, {`"stream":true,`, ``}, {`["request_body"]`, `["request"]`}} {
		forged := strings.Replace(string(b), c[0], c[1], 1)
		if forged == string(b) {
			t.Fatalf("%s is not in %s", c[0], b)
		}
		if err := json.Unmarshal([]byte(forged), new(Policy)); err == nil {
			t.Errorf("%s is believed", c[1])
		}
	}
}
