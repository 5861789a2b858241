package policy

import (
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

const (
	uploadType  = "content-type: application/x-git-upload-pack-request"
	receiveType = "content-type: application/x-git-receive-pack-request"
	grpcType    = "content-type: application/grpc"
	jsonType    = "content-type: application/json"
)

// Texts of the schema's corpus about protocols on top of HTTP.
var (
	goodSpeech = []string{
		"version: 1\negress: {allow: [{host: a.example, registry: npm}, {host: b.example, registry: {kind: maven, packages: ['org.example:*', '*'], prefix: /maven2}}, {host: c.example, registry: {kind: npm, packages: ['@a/*', b]}}]}",
		"version: 1\negress: {allow: [{host: a.example, graphql: {operations: [query, subscription], fields: [viewer, 'issue*', _x], persisted: [" + sum + "], max_body: 2MiB}}, {host: b.example, graphql: {operations: [mutation]}}]}",
		"version: 1\negress: {allow: [{host: a.example, paths: [/mcp], jsonrpc: {methods: [initialize, 'notifications/*', tools/call], tools: ['search *'], answers: true, max_body: 4MiB}}, {host: b.example, jsonrpc: {methods: ['*']}}]}",
		"version: 1\negress: {allow: [{host: a.example, git: {repos: [o/r, 'o/*', '**/x*y']}}, {host: b.example, git: {repos: [r], push: true, branches: ['agent/**'], tags: [v*], delete: true, force: true}}, {host: c.example, git: {repos: [r], push: false, delete: false}}]}",
		"version: 1\negress: {allow: [{host: a.example, inspect: true, methods: [POST], grpc: {services: [a.b.C, a.B/Get*, 'a.*', '*/*']}}]}",
	}
	badSpeech = []string{
		"version: 1\negress: {allow: [{host: a, registry: nuget}]}", "version: 1\negress: {allow: [{host: a, registry: {}}]}", "version: 1\negress: {allow: [{host: a, registry: {kind: npm, packages: []}}]}", "version: 1\negress: {allow: [{host: a, registry: {kind: npm, packages: ['a b']}}]}", "version: 1\negress: {allow: [{host: a, registry: {kind: maven, packages: [a]}}]}",
		"version: 1\negress: {allow: [{host: a, registry: {kind: npm, prefix: x}}]}", "version: 1\negress: {allow: [{host: a, registry: {kind: npm, prefix: /x/}}]}", "version: 1\negress: {allow: [{host: a, registry: {kind: npm, prefix: '/x*'}}]}", "version: 1\negress: {allow: [{host: a, registry: npm, git: {repos: [a]}}]}", "version: 1\negress: {ask: [{host: a, registry: npm}]}",
		"version: 1\negress: {allow: [{host: a, graphql: {}}]}", "version: 1\negress: {allow: [{host: a, graphql: {operations: []}}]}", "version: 1\negress: {allow: [{host: a, graphql: {operations: [Query]}}]}", "version: 1\negress: {allow: [{host: a, graphql: {operations: [query], fields: [a.b]}}]}", "version: 1\negress: {allow: [{host: a, graphql: {operations: [query], fields: [1a]}}]}",
		"version: 1\negress: {allow: [{host: a, graphql: {operations: [query], persisted: [abc]}}]}", "version: 1\negress: {allow: [{host: a, graphql: {operations: [query], other: 1}}]}", "version: 1\negress: {allow: [{host: a, jsonrpc: {methods: [a]}, graphql: {operations: [query]}}]}", "version: 1\negress: {ask: [{host: a, graphql: {operations: [query]}}]}",
		"version: 1\negress: {allow: [{host: a, jsonrpc: {}}]}", "version: 1\negress: {allow: [{host: a, jsonrpc: {methods: []}}]}", "version: 1\negress: {allow: [{host: a, jsonrpc: {methods: ['']}}]}", "version: 1\negress: {allow: [{host: a, jsonrpc: {methods: [a, a]}}]}", "version: 1\negress: {allow: [{host: a, jsonrpc: {methods: [é]}}]}",
		"version: 1\negress: {allow: [{host: a, jsonrpc: {methods: [a], tools: []}}]}", "version: 1\negress: {allow: [{host: a, jsonrpc: {methods: [a], max_body: 5}}]}", "version: 1\negress: {allow: [{host: a, jsonrpc: {methods: [a]}, grpc: {services: [A]}}]}", "version: 1\negress: {ask: [{host: a, jsonrpc: {methods: [a]}}]}", "version: 1\negress: {allow: [{host: a, inspect: false, jsonrpc: {methods: [a]}}]}",
		"version: 1\negress: {allow: [{host: a, git: {}}]}", "version: 1\negress: {allow: [{host: a, git: {repos: []}}]}", "version: 1\negress: {allow: [{host: a, git: {repos: [o/r.git]}}]}", "version: 1\negress: {allow: [{host: a, git: {repos: [/o/r]}}]}",
		"version: 1\negress: {allow: [{host: a, git: {repos: [o//r]}}]}", "version: 1\negress: {allow: [{host: a, git: {repos: [o/../r]}}]}", "version: 1\negress: {allow: [{host: a, git: {repos: ['o/a**']}}]}", "version: 1\negress: {allow: [{host: a, git: {repos: ['o/a b']}}]}", "version: 1\negress: {allow: [{host: a, git: {repos: ['o/%61']}}]}",
		"version: 1\negress: {allow: [{host: a, git: {repos: [r], push: true}}]}", "version: 1\negress: {allow: [{host: a, git: {repos: [r], branches: [a]}}]}", "version: 1\negress: {allow: [{host: a, git: {repos: [r], delete: true}}]}", "version: 1\negress: {allow: [{host: a, git: {repos: [r], push: true, branches: [refs/heads/a]}}]}",
		"version: 1\negress: {allow: [{host: a, git: {repos: [r], push: true, branches: []}}]}", "version: 1\negress: {allow: [{host: a, git: {repos: [r], push: true, tags: [a], other: 1}}]}", "version: 1\negress: {deny: [{host: a, git: {repos: [r]}}]}", "version: 1\negress: {ask: [{host: a, git: {repos: [r]}}]}", "version: 1\negress: {ask: [{host: a, grpc: {services: [A]}}]}", "version: 1\negress: {allow: [{host: a, inspect: false, git: {repos: [r]}}]}",
		"version: 1\negress: {allow: [{host: a, ports: [1], protocol: tcp, git: {repos: [r]}}]}", "version: 1\negress: {allow: [{host: a, git: {repos: [r]}, grpc: {services: [A]}}]}",
		"version: 1\negress: {allow: [{host: a, grpc: {}}]}", "version: 1\negress: {allow: [{host: a, grpc: {services: []}}]}", "version: 1\negress: {allow: [{host: a, grpc: {services: [/a.B/C]}}]}", "version: 1\negress: {allow: [{host: a, grpc: {services: [a.B/C/D]}}]}",
		"version: 1\negress: {allow: [{host: a, grpc: {services: [a..B]}}]}", "version: 1\negress: {allow: [{host: a, grpc: {services: ['a-b']}}]}", "version: 1\negress: {allow: [{host: a, grpc: {services: [A/b.c]}}]}", "version: 1\negress: {allow: [{host: a, grpc: {services: [A, A]}}]}",
	}
)

// speaking is a request METHOD URL with header fields.
func speaking(t testing.TB, request string, header ...string) *hooks.Request {
	t.Helper()
	r := req(t, request)
	r.Header = http.Header{}
	for _, h := range header {
		k, v, _ := strings.Cut(h, ": ")
		r.Header.Add(k, v)
	}
	return r
}

// TestSpeechHead: what the head of a request has to be under a rule about a protocol
// on top of HTTP, and how a hostile tool would write it.
func TestSpeechHead(t *testing.T) {
	const (
		read = `git: {repos: [o/r, "x/*", "deep/**"]}`
		push = `git: {repos: [o/r], push: true, branches: ["**"]}`
		rpc  = `jsonrpc: {methods: [a]}`
		gql  = `graphql: {operations: [query]}`
		call = `grpc: {services: [a.b.C, a.D/Get*, "v1.*/Read"]}`
	)
	for _, tt := range []struct {
		rule, request string
		header        []string
		want          string // "": allowed; "body": by its body
	}{
		{read, "GET https://h.example/o/r/info/refs?service=git-upload-pack", nil, ""},
		{read, "GET https://h.example/o/r.git/info/refs?service=git-upload-pack", nil, ""},
		{read, "POST https://h.example/o/r.git/git-upload-pack", []string{uploadType}, ""},
		{read, "GET https://h.example/x/any/info/refs?service=git-upload-pack", nil, ""},
		{read, "GET https://h.example/deep/a/b/c/info/refs?service=git-upload-pack", nil, ""},
		{read, "GET https://h.example/o/r/info/refs?service=git-receive-pack", nil, "it lets nobody push"},
		{read, "POST https://h.example/o/r/git-receive-pack", []string{receiveType}, "it lets nobody push"},
		{read, "GET https://h.example/o/r/info/refs", nil, "not that of git's smart HTTP"},
		{read, "GET https://h.example/o/r/info/refs?service=git-upload-pack&service=git-receive-pack", nil, "not that of git's smart HTTP"},
		{read, "GET https://h.example/o/r/info/refs?service=git%2dupload-pack", nil, "not that of git's smart HTTP"},
		{read, "HEAD https://h.example/o/r/info/refs?service=git-upload-pack", nil, "with GET"},
		{read, "POST https://h.example/o/r/info/refs?service=git-upload-pack", nil, "with GET"},
		{read, "GET https://h.example/o/r/HEAD", nil, "not a path of git's smart HTTP"},
		{read, "GET https://h.example/o/r", nil, "not a path of git's smart HTTP"},
		{read, "POST https://h.example/o/r/info/lfs/objects/batch", []string{"content-type: application/vnd.git-lfs+json"}, "not a path"},
		{read, "POST https://h.example/o/r/git-upload-pack", nil, "not a request of git's smart HTTP"},
		{read, "POST https://h.example/o/r/git-upload-pack", []string{uploadType, uploadType}, "not a request of git's smart HTTP"},
		{read, "POST https://h.example/o/r/git-upload-pack?x", []string{uploadType}, "not a request of git's smart HTTP"},
		{read, "GET https://h.example/o/r/git-upload-pack", []string{uploadType}, "not a request of git's smart HTTP"},
		{read, "GET https://h.example/o/other/info/refs?service=git-upload-pack", nil, "not one of its repos"},
		{read, "GET https://h.example/o/r/x/info/refs?service=git-upload-pack", nil, "not one of its repos"},
		{read, "GET https://h.example/x/a/b/info/refs?service=git-upload-pack", nil, "not one of its repos"},
		{read, "GET https://h.example/x/a%2Fb/info/refs?service=git-upload-pack", nil, "not one of its repos"},
		{read, "GET https://h.example//o/r/info/refs?service=git-upload-pack", nil, "not one of its repos"},
		{read, "GET https://h.example/o/r;x/info/refs?service=git-upload-pack", nil, "not one of its repos"},
		{read, "GET https://h.example/info/refs?service=git-upload-pack", nil, "not one of its repos"},
		{push, "GET https://h.example/o/r/info/refs?service=git-receive-pack", nil, ""},
		{push, "POST https://h.example/o/r/git-receive-pack", []string{receiveType}, "body"},
		{push, "POST https://h.example/o/r/git-receive-pack", []string{uploadType}, "not a request of git's smart HTTP"},
		{push, "POST https://h.example/o/r/git-receive-pack;x/git-upload-pack", []string{uploadType}, "not one of its repos"},
		{rpc, "POST https://h.example/x", []string{jsonType}, "body"},
		{rpc, "POST https://h.example/x?key=v&methods=x", []string{jsonType}, "body"},
		{rpc, "POST https://h.example/x", []string{"content-type: Application/JSON; charset=UTF-8"}, "body"},
		{rpc, "GET https://h.example/x", []string{jsonType}, "not JSON-RPC"},
		{rpc, "POST https://h.example/x", nil, "not JSON-RPC"},
		{rpc, "POST https://h.example/x", []string{"content-type: text/plain"}, "not JSON-RPC"},
		{rpc, "POST https://h.example/x", []string{"content-type: application/json-rpc"}, "not JSON-RPC"},
		{rpc, "POST https://h.example/x", []string{"content-type: application/json; charset=utf-16"}, "not JSON-RPC"},
		{rpc, "POST https://h.example/x", []string{"content-type: application/json; boundary=x"}, "not JSON-RPC"},
		{rpc, "POST https://h.example/x", []string{jsonType, "content-type: application/x-www-form-urlencoded"}, "not JSON-RPC"},
		{rpc, "POST https://h.example/x", []string{"content-type: application/json, text/plain"}, "not JSON-RPC"},
		{rpc, "POST https://h.example/x", []string{jsonType, "content-encoding: gzip"}, "not JSON-RPC"},
		{rpc, "POST https://h.example/x?method=b", []string{jsonType}, "belongs into the body"},
		{rpc, "POST https://h.example/x?%4dethod=b", []string{jsonType}, "belongs into the body"},
		{rpc, "POST https://h.example/x?a;method=b", []string{jsonType}, "belongs into the body"},
		{gql, "POST https://h.example/graphql", []string{jsonType}, "body"},
		{gql, "POST https://h.example/graphql?query={a}", []string{jsonType}, "a query in its URL"},
		{gql, "POST https://h.example/graphql?x", []string{jsonType}, "a query in its URL"},
		{gql, "GET https://h.example/graphql?query={a}", nil, "not a GraphQL request that can be judged"},
		{gql, "POST https://h.example/graphql", []string{"content-type: application/graphql"}, "not a GraphQL request that can be judged"},
		{gql, "POST https://h.example/graphql", []string{"content-type: multipart/form-data; boundary=x"}, "not a GraphQL request that can be judged"},
		{call, "POST https://h.example/a.b.C/Anything", []string{grpcType}, ""},
		{call, "POST https://h.example/a.D/GetOne", []string{grpcType + "+proto"}, ""},
		{call, "POST https://h.example/v1.Any/Read", []string{grpcType}, ""},
		{call, "POST https://h.example/v1.sub.Any/Read", []string{grpcType}, ""},
		{call, "POST https://h.example/a.D/PutOne", []string{grpcType}, "not one of its services"},
		{call, "POST https://h.example/a.b.C/Any/thing", []string{grpcType}, "not one of its services"},
		{call, "POST https://h.example/A.b.C/Anything", []string{grpcType}, "not one of its services"},
		{call, "POST https://h.example/x/a.b.C/Anything", []string{grpcType}, "not one of its services"},
		{call, "POST https://h.example/a.D%2FPut/GetOne", []string{grpcType}, "not one of its services"},
		{call, "GET https://h.example/a.b.C/Anything", []string{grpcType}, "not a call of gRPC"},
		{call, "POST https://h.example/a.b.C/Anything?x", []string{grpcType}, "not a call of gRPC"},
		{call, "POST https://h.example/a.b.C/Anything", []string{"content-type: application/json"}, "not a call of gRPC"},
		{call, "POST https://h.example/a.b.C/Anything", []string{"content-type: application/grpc-web"}, "not a call of gRPC"},
		{call, "POST https://h.example/a.b.C/Anything", []string{grpcType, "content-type: application/json"}, "not a call of gRPC"},
		{call, "POST https://h.example/a.b.C/Anything", []string{"content-type: application/grpc+a, application/json"}, "not a call of gRPC"},
	} {
		p := mustPolicy(t, "version: 1\negress: {allow: [{host: h.example, "+tt.rule+"}]}")
		r := speaking(t, tt.request, tt.header...)
		v, e := p.Decide(r), p.Explain(r)
		switch {
		case tt.want == "":
			if v.Action != hooks.Allow || v.Bodies != nil || e.Action != "allow" {
				t.Errorf("%s under %s: %s", tt.request, tt.rule, v.Reason)
			}
		case tt.want == "body":
			if v.Action != hooks.Deny || len(v.Bodies) != 1 || e.Action != Depends || len(e.Body) != 1 || !strings.Contains(v.Reason, "was not looked at") {
				t.Errorf("%s under %s: %+v", tt.request, tt.rule, v)
			}
		case v.Action != hooks.Deny || v.Bodies != nil || !strings.Contains(v.Reason, tt.want):
			t.Errorf("%s under %s: %s %s, want %q", tt.request, tt.rule, v.Action, v.Reason, tt.want)
		}
	}
}

// TestSettle: rules that look at the body add up like all others, and the verdict
// of the head is what holds without them.
func TestSettle(t *testing.T) {
	const h = "host: h.example, "
	one, two := "{"+h+"git: {repos: [r], push: true, branches: [a]}}", "{"+h+"addresses: [10.0.0.0/8], git: {repos: [r], push: true, branches: [b]}}"
	parse := func(rules ...string) (*Policy, Verdict, *hooks.Request) {
		p := mustPolicy(t, policyText("deny", rules, nil))
		r := speaking(t, "POST https://h.example/r/git-receive-pack", receiveType)
		return p, p.Decide(r), r
	}
	p, v, r := parse(one, two)
	if len(v.Bodies) != 2 || v.Action != hooks.Deny {
		t.Fatalf("%+v", v)
	}
	if s := p.Settle(v, r, v.Bodies[:1], ""); s.Action != hooks.Allow || s.Rule != v.Bodies[0] || s.Dial != nil {
		t.Errorf("the first agreed: %+v", s)
	}
	if s := p.Settle(v, r, v.Bodies[1:], ""); s.Action != hooks.Allow || s.Rule != v.Bodies[1] || s.Dial == nil {
		t.Errorf("the second agreed: %+v", s)
	}
	if s := p.Settle(v, r, nil, "of this"); s.Action != hooks.Deny || s.Rule != nil || !strings.Contains(s.Reason, "of this") || s.Bodies != nil {
		t.Errorf("none agreed: %+v", s)
	}
	if s := p.Settle(v, r, []*Rule{{}}, ""); s.Action != hooks.Deny {
		t.Errorf("a rule that was not asked allows: %+v", s)
	}
	// The body need not be read where nothing depends on it.
	if _, v, _ := parse(one, "{host: h.example}"); v.Action != hooks.Allow || v.Bodies != nil {
		t.Errorf("beside a plain rule: %+v", v)
	}
	if p, v, r := parse(two, "{host: h.example}"); v.Action != hooks.Allow || len(v.Bodies) != 1 || v.Dial != nil || p.Settle(v, r, v.Bodies, "").Dial == nil || p.Settle(v, r, nil, "").Dial != nil {
		t.Errorf("addresses beside a plain rule: %+v", v)
	}
	q := mustPolicy(t, policyText("allow", []string{one}, nil))
	if v := q.Decide(r); v.Action != hooks.Allow || len(v.Bodies) != 1 || q.Settle(v, r, nil, "").Action != hooks.Allow || q.Settle(v, r, v.Bodies, "").Rule == nil {
		t.Errorf("in audit mode: %+v", v)
	}
	q = mustPolicy(t, policyText("allow", []string{one}, []string{"{host: h.example, paths: [/r/**]}"}))
	if v := q.Decide(r); v.Action != hooks.Deny || v.Bodies != nil {
		t.Errorf("under a deny: %+v", v)
	}
}
