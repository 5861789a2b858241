package policy

import (
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

const sum = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"

// The schema's corpus: every text is judged by the schema and by the parser.
var (
	goodTexts = []string{
		"version: 1", "version: 1\negress: {}", "version: 1\negress: {allow: [], deny: []}\nsecrets: []",
		full, example,
		"version: 1\negress: {allow: [{host: a.example, protocol: [https, tls]}]}",
		"version: 1\negress: {allow: [{host: a.example, protocol: https, inspect: false}]}",
		"version: 1\negress: {allow: [{host: a.example, inspect: true, methods: [GET, VERSION-CONTROL]}]}",
		"version: 1\negress: {allow: [{host: '*', ports: [22], protocol: tcp}]}",
		"version: 1\negress: {allow: [{host: A.Example., paths: ['/', '/**', '/**/x', '/a*b/*']}]}",
		"version: 1\negress: {deny: [{host: localhost}, {cidr: '::/0'}, {host: host.penstock.internal}]}",
		"version: 1\nlimits: {egress: ['*', 10.0.0.0/8, '::/0', a.example], protocols: [], modes: [enforce, audit], ca: false, write: [], cpus: 0.5}",
		"version: 1\nsandbox: {tiers: [bwrap]}", "version: 1\nsandbox: {tier: auto, tiers: [gvisor, bwrap, wasm, darwin, firecracker]}",
		"version: 1\negress: {approvers: {}}", "version: 1\negress: {approvers: {release-desk: 'ed25519:rG0KZEoxIZdPIgBf/CXESPZ0/zWncS99y0PnYsozrBo='}}\nlimits: {approvers: false}",
		"version: 1\nsandbox: {timeout: 1h30m, memory: 1.5GiB, cpus: 2}",
		"version: 1\nsandbox: {idle: 30m, on_violation: freeze}\nlimits: {idle: 1h, on_violation: continue}",
		"version: 1\nfilesystem: {write: [., ~/x, '~', /a b]}",
		"version: 1\negress: {allow: [{host: a.example, process: {exe: /usr/bin/git}}, {host: b.example, process: {exe: ~/bin/x, sha256: " + sum + "}}], deny: [{host: '*', process: {exe: /a b/c}}]}",
		"version: 1\negress: {allow: [{host: a.example, pin: {secret: K}}, {host: b.example, protocol: https, pin: {secret: K, header: x-api-key, pass_headers: [x-session-token], pass_query: ['page token', 'a[b]']}}]}",
		"version: 1\negress: {allow: [{host: a.example, budget: {requests: 1}}, {cidr: 10.0.0.0/8, budget: {bytes_out: 10MiB, bytes_in: 1GiB, per: hour, rate: 5/s}}, {host: b.example, ports: [22], protocol: tcp, budget: {rate: 10000/h}}]}",
		"version: 1\negress: {allow: [{host: a.example, when: 'request.size < 10'}, {host: b.example, inspect: true, when: 'true'}], deny: [{host: '*', when: 'true'}]}",
		"version: 1\nsecrets: [{name: A, from: 'credential:a.b', hosts: [a.example], bearer: true}, {name: B, from: {command: [pass, show, 'x y', '']}, hosts: [a.example], basic: {user: x-access-token}}, {name: C, from: {command: [/usr/bin/env], every: 1h, expires: 24h}, hosts: [a.example], query: 'api key'}, {name: D, from: 'env:D', hosts: [a.example], json: auth.key}, {name: E, from: 'env:D', hosts: [a.example], websocket: {json: payload.token}}]",
		"version: 1\nsecrets: [{name: A, from: 'keyring:service=a b,xdg:schema=x=y', hosts: [a.example], bearer: true}, {name: B, from: 'keyring:My key, of work', hosts: [a.example], basic: {user: a}}, {name: C, from: 'keyring:x', hosts: [a.example], query: k}, {name: D, from: {keyring: 'a=b,c=d', every: 10m, expires: 1h}, hosts: [b.example], bearer: true}, {name: E, from: {keyring: My key}, hosts: [c.example], bearer: true}]",
		"version: 1\negress: {upstreams: {a: {url: 'http://p.example:1', from: 'keyring:service=proxy,user=me'}, b: {url: 'http://p.example:2', user: u, from: {command: [pass, show, p]}}, c: {url: 'http://p.example:3', from: 'credential:p'}, d: {url: 'http://p.example:4', from: {keyring: My proxy}}}}\nhooks: [{name: a, on: [request], http: 'https://a.example/', key: 'keyring:service=soc'}, {name: b, on: [request], http: 'https://a.example/', key: {command: [cat, k]}}]",
		"version: 1\negress: {via: corp, allow: [{host: a.example, via: direct}], upstreams: {corp: {url: 'http://proxy.corp.example:3128/', user: me, from: 'env:P', addresses: [10.0.0.0/8], except: ['*.lab', 10.0.0.0/8]}, c: {url: 'https://p.example:1', client_cert: ~/c.pem, client_key: /etc/k.pem}, k: {url: 'https://p.example:1', auth: negotiate, from: 'env:KRB5CCNAME', kdc: [kdc.example, 'kdc2.example:88']}, n: {urls: ['http://1.2.3.4:1', 'http://b.example:1'], user: 'CORP\\agent', auth: ntlm, from: 'env:X'}, d: {url: 'http://1.2.3.4:1', auth: basic, from: 'env:X'}, b: {urls: ['socks5://[::1]:1080', 'socks5h://h.example:1'], from: 'file:~/p'}}}\nlimits: {via: [corp, direct]}",
		"version: 1\nhooks: [{name: a, on: [request], http: 'https://a.example:8443/x?y', key: 'file:~/k'}, {name: b, on: [request], http: 'https://a.example/', key: 'env:K', client_cert: c.pem, client_key: ~/k.pem}]",
		"version: 1\nsecrets: [{name: A, from: {oauth2: {token_url: 'https://login.example/t', client_id: 'a b', client_secret: 'env:S', refresh_token: {command: [cat, x], every: 1m}, scopes: [a, 'https://x.example/y'], audience: x, client_auth: body}}, hosts: [a.example], bearer: true}]",
		"version: 1\nsecrets: [{name: AWS, hosts: ['*.amazonaws.com'], aws: {access_key: 'env:A', secret_key: {command: [x]}, session_token: 'file:~/t', services: [s3, sts], regions: [eu-central-1]}}]",
		"version: 1\nsecrets: [{name: A, from: {vault: {url: 'https://vault.example:8200', path: secret/data/app, field: a key, kv: 1, token: 'file:~/t', namespace: team/a}}, hosts: [a.example], bearer: true}]",
		"version: 1\nhooks: [{name: a, on: [response, request], cel: b}, {name: b, on: [response], cel: b}, {name: c, on: [connect], cel: b}]",
		"version: 1\nhooks: [{name: a, on: [request], wasm: a.wasm}]", "version: 1\nhooks: [{name: a, on: [request], wasm: ~/a.wasm, sha256: '0000000000000000000000000000000000000000000000000000000000000000', stateful: true}]",
		"version: 1\nhooks: [{name: a, on: [request], exec: [./a.py, '', x/y]}, {name: b, on: [request], exec: [/bin/a], network: true}, {name: c, on: [request], exec_once: [~/a]}, {name: d, on: [request], exec_once: [a], network: true}]",
		"version: 1\negress: {upstreams: {a: {pac: 'https://wpad.example/proxy.pac', refresh: 30m, addresses: [10.0.0.0/8], among: [direct]}, b: {pac: 'HTTPS://wpad.example:8443/a?b=c', among: [direct]}}}",
		"version: 1\negress: {upstreams: {p: {url: 'http://p.example:1'}, a: {pac: ~/proxy.pac, among: [p, direct], my_address: 10.1.2.3, except: ['*.lab']}}}",
		"version: 1\nhooks: [{name: a, on: [session_start, session_end], cel: b}, {name: b, on: [request, session_start], hosts: [a.example], exec: [/bin/true]}]",
		"version: 1\nhooks: [{name: a, on: [dns, session_start], cel: b, hosts: ['*', 10.0.0.0/8]}, {name: b, on: [connect, dns], hosts: [10.0.0.0/8], exec: [/bin/true]}]",
		"version: 1\nhooks: [{name: a, on: [request_body, response_body], wasm: a.wasm, change: body, max_body: 8MiB, body: whole}, {name: b, on: [websocket], cel: b, change: none}]",
		"version: 1\nhooks: [{name: a, on: [websocket], cel: b, body: stream, overlap: 1KiB, max_body: 1GiB, over: next}, {name: b, on: [request_body, websocket], cel: b, encoded: raw}]",
		"version: 1\nhooks: [{name: a, on: [request_body], cel: b}, {name: b, on: [response_body, request], cel: b, body: stream, overlap: 1KiB, max_body: 1GiB, over: next, encoded: raw}, {name: c, on: [request_body], cel: b, body: whole, max_body: 8MiB, over: deny, encoded: deny}]",
		"version: 1\nhooks: [{name: a, on: [request], grpc: 'https://a.example:9191', addresses: [10.0.0.0/8, 'fc00::/7'], client_cert: a, client_key: b}, {name: b, on: [request], grpc: 'http://127.0.0.1:9191'}, {name: c, on: [request], grpc: 'http://[::1]:9191/'}, {name: d, on: [request], grpc: 'http://host.penstock.internal:9191'}]",
		"version: 1\nhooks: [{name: a, on: [request], grpc: 'https://a.example', protocol: envoy}, {name: b, on: [request, response, connect, request_body, response_body, websocket, session_start, session_end, dns, tool_call], grpc: 'https://a.example', protocol: penstock, body: stream}, {name: c, on: [response_body], grpc: 'http://127.0.0.1:1', protocol: penstock, change: body}]",
		"version: 1\nhooks: []", "version: 1\nhooks: [{name: a-1, on: [request], hosts: ['*.b.example', 10.0.0.0/8], cel: '\"next\"', timeout: 100ms, concurrency: 4}]",
		"version: 1\nenvironment: {pass: ['*', A, B_*], set: {A_1: ''}, proxy_variables: true}",
	}
	badTexts = []string{
		"version: 1\negress: {approvers: [a]}", "version: 1\negress: {approvers: {A: 'ed25519:rG0KZEoxIZdPIgBf/CXESPZ0/zWncS99y0PnYsozrBo='}}", "version: 1\negress: {approvers: {direct: 'ed25519:rG0KZEoxIZdPIgBf/CXESPZ0/zWncS99y0PnYsozrBo='}}", "version: 1\negress: {approvers: {a: 'rG0KZEoxIZdPIgBf/CXESPZ0/zWncS99y0PnYsozrBo='}}", "version: 1\negress: {approvers: {a: 'ed25519:rG0KZEoxIZdPIgBf/CXESPZ0/zWncS99y0PnYsozrBp='}}", "version: 1\negress: {approvers: {a: 1}}", "version: 1\nlimits: {approvers: [a]}",
		"egress: {}", "version: 2", "version: '1'", "version: 1\nother: 1",
		"version: 1\nhooks: [{name: a, on: [request], wasm: ''}]", "version: 1\nhooks: [{name: a, on: [request], wasm: a, sha256: ABC}]", "version: 1\nhooks: [{name: a, on: [request], wasm: a, stateful: 1}]", "version: 1\nhooks: [{name: a, on: [request], wasm: a, cel: b}]",
		"version: 1\nhooks: [{name: a, on: [request], wasm: a, key: 'env:A'}]", "version: 1\nhooks: [{name: a, on: [request], cel: b, stateful: true}]", "version: 1\nhooks: [{name: a, on: [request], http: 'https://a.example/', key: 'env:A', sha256: '0000000000000000000000000000000000000000000000000000000000000000'}]", "version: 1\nhooks: [{name: a, on: [request], wasm: a, http: 'https://a.example/', key: 'env:A'}]",
		"version: 1\nhooks: [{name: a, on: [session_start], cel: b, hosts: [a.example]}]", "version: 1\nhooks: [{name: a, on: [session_end], cel: b, body: stream}]",
		"version: 1\nhooks: [{name: a, on: [dns], cel: b, hosts: [10.0.0.0/8]}]", "version: 1\nhooks: [{name: a, on: [dns], grpc: 'https://a.example'}]",
		"version: 1\nhooks: [{name: a, on: [dns], grpc: 'https://a.example', protocol: envoy}]", "version: 1\nhooks: [{name: a, on: [request], grpc: 'https://a.example', protocol: ext_proc}]", "version: 1\nhooks: [{name: a, on: [request], wasm: a.wasm, protocol: penstock}]",
		"version: 1\nhooks: [{name: a, on: [request_body], grpc: 'https://a.example', change: body}]", "version: 1\nhooks: [{name: a, on: [request_body], grpc: 'https://a.example', protocol: penstock, change: body, body: stream}]",
		"version: 1\nhooks: [{name: a, on: [websocket], cel: b, encoded: raw}]", "version: 1\nhooks: [{name: a, on: [websocket], grpc: \"https://a.example\"}]",
		"version: 1\nhooks: [{name: a, on: [request], cel: b, body: whole}]", "version: 1\nhooks: [{name: a, on: [response], cel: b, max_body: 1KiB}]", "version: 1\nhooks: [{name: a, on: [request_body], cel: b, overlap: 1KiB}]",
		"version: 1\nhooks: [{name: a, wasm: a.wasm, change: body, on: [websocket]}]", "version: 1\nhooks: [{name: a, on: [request_body], wasm: a.wasm, change: body, max_body: 1MiB, over: next}]", "version: 1\nhooks: [{name: a, on: [request_body], wasm: a.wasm, change: body, encoded: raw}]", "version: 1\nhooks: [{name: a, on: [request_body], cel: b, change: body}]", "version: 1\nhooks: [{name: a, on: [request_body], wasm: a.wasm, change: all}]", "version: 1\nhooks: [{name: a, wasm: a.wasm, change: body, on: [request]}]", "version: 1\nhooks: [{name: a, wasm: a.wasm, change: body, on: [request_body], body: stream}]",
		"version: 1\nhooks: [{name: a, on: [request_body], cel: b, body: stream, over: next}]", "version: 1\nhooks: [{name: a, on: [request_body], cel: b, body: parts}]", "version: 1\nhooks: [{name: a, on: [request_body], cel: b, max_body: 7}]", "version: 1\nhooks: [{name: a, on: [request_body], cel: b, over: allow}]", "version: 1\nhooks: [{name: a, on: [request_body], cel: b, encoded: next}]",
		"version: 1\nhooks: {}", "version: 1\nhooks: [{}]", "version: 1\nhooks: [{name: a, on: [request]}]", "version: 1\nhooks: [{name: a, on: [], cel: b}]", "version: 1\nhooks: [{name: A, on: [request], cel: b}]", "version: 1\nhooks: [{name: a, on: [answer], cel: b}]",
		"version: 1\nhooks: [{name: a, on: [request], cel: ''}]", "version: 1\nhooks: [{name: a, on: [request], cel: b, hosts: []}]", "version: 1\nhooks: [{name: a, on: [request], cel: b, concurrency: 2000}]", "version: 1\nhooks: [{name: a, on: [request], http: b, key: 'env:A'}]", "version: 1\nhooks: [{name: a, on: [request], http: 'http://a.example/', key: 'env:A'}]", "version: 1\nhooks: [{name: a, on: [request], http: 'https://a.example/'}]",
		"version: 1\nhooks: [{name: a, on: [request], http: 'https://a.example/', key: A}]", "version: 1\nhooks: [{name: a, on: [request], cel: b, key: 'env:A'}]", "version: 1\nhooks: [{name: a, on: [request], cel: b, http: 'https://a.example/', key: 'env:A'}]",
		"version: 1\nhooks: [{name: a, on: [request], exec: x}]", "version: 1\nhooks: [{name: a, on: [request], exec: []}]", "version: 1\nhooks: [{name: a, on: [request], exec: ['']}]", "version: 1\nhooks: [{name: a, on: [request], exec_once: [a/b]}]", "version: 1\nhooks: [{name: a, on: [request], exec: [a], network: false}]",
		"version: 1\nhooks: [{name: a, on: [request], exec: [a], exec_once: [a]}]", "version: 1\nhooks: [{name: a, on: [request], exec: [a], key: 'env:A'}]", "version: 1\nhooks: [{name: a, on: [request], cel: a, network: true}]", "version: 1\nhooks: [{name: a, on: [request], http: 'https://a.example/', key: 'env:A', network: true}]",
		"version: 1\nhooks: [{name: a, on: [request], grpc: a.example}]", "version: 1\nhooks: [{name: a, on: [request], grpc: 'http://a.example'}]", "version: 1\nhooks: [{name: a, on: [request], grpc: 'https://a.example/x'}]", "version: 1\nhooks: [{name: a, on: [request], grpc: 'https://a.example', addresses: []}]", "version: 1\nhooks: [{name: a, on: [connect], grpc: 'https://a.example'}]",
		"version: 1\nhooks: [{name: a, on: [request], grpc: 'https://a.example', client_cert: x}]", "version: 1\nhooks: [{name: a, on: [request], grpc: 'http://127.0.0.1:1', client_cert: x, client_key: y}]", "version: 1\nhooks: [{name: a, on: [request], cel: b, addresses: [10.0.0.0/8]}]", "version: 1\nhooks: [{name: a, on: [request], cel: b, client_cert: x, client_key: y}]",
		"version: 1\negress: {allow: }", "version: 1\negress: {default: maybe}", "version: 1\negress: {upstreams: []}",
		"version: 1\negress: {via: Corp}", "version: 1\negress: {via: [a]}", "version: 1\nlimits: {via: a}", "version: 1\nlimits: {via: [A]}", "version: 1\negress: {deny: [{host: a, via: b}]}", "version: 1\negress: {allow: [{host: host.penstock.internal, ports: [1], via: b}]}",
		"version: 1\negress: {upstreams: {a: {}}}", "version: 1\negress: {upstreams: {direct: {url: 'http://a:1'}}}", "version: 1\negress: {upstreams: {A: {url: 'http://a:1'}}}", "version: 1\negress: {upstreams: {a: {url: 'http://a:1', urls: ['http://a:1']}}}",
		"version: 1\negress: {upstreams: {a: {url: 'http://a'}}}", "version: 1\negress: {upstreams: {a: {url: 'ftp://a:1'}}}", "version: 1\negress: {upstreams: {a: {url: 'http://u:p@a:1'}}}", "version: 1\negress: {upstreams: {a: {url: 'http://a:1/x'}}}", "version: 1\negress: {upstreams: {a: {url: 'http://localhost:1'}}}",
		"version: 1\negress: {upstreams: {a: {urls: []}}}", "version: 1\negress: {upstreams: {a: {url: 'http://a:1', user: 'a:b', from: 'env:X'}}}", "version: 1\negress: {upstreams: {a: {url: 'http://a:1', user: b}}}", "version: 1\negress: {upstreams: {a: {url: 'http://a:1', from: secret}}}",
		"version: 1\negress: {upstreams: {a: {url: 'http://a:1', addresses: []}}}", "version: 1\negress: {upstreams: {a: {url: 'http://a:1', client_cert: a, client_key: b}}}", "version: 1\negress: {upstreams: {a: {urls: ['socks5://a:1'], client_cert: a, client_key: b}}}",
		"version: 1\negress: {upstreams: {a: {url: 'https://a:1', client_cert: a}}}", "version: 1\negress: {upstreams: {a: {url: 'https://a:1', client_key: a}}}", "version: 1\negress: {upstreams: {a: {url: 'https://a:1', client_cert: ~x/a, client_key: b}}}",
		"version: 1\negress: {upstreams: {a: {pac: x}}}", "version: 1\negress: {upstreams: {a: {among: [direct]}}}", "version: 1\negress: {upstreams: {a: {pac: x, among: []}}}", "version: 1\negress: {upstreams: {a: {pac: x, among: [direct], url: 'http://a:1'}}}",
		"version: 1\negress: {upstreams: {a: {pac: x, among: [direct, direct]}}}", "version: 1\negress: {upstreams: {a: {pac: x, among: [B]}}}", "version: 1\negress: {upstreams: {a: {pac: x, among: [direct], from: 'env:X'}}}", "version: 1\negress: {upstreams: {a: {pac: x, among: [direct], my_address: home}}}",
		"version: 1\nhooks: [{name: a, on: [request], cel: b, client_cert: a, client_key: b}]", "version: 1\nhooks: [{name: a, on: [request], http: 'https://a.example/', key: 'env:A', client_key: a}]",
		"version: 1\negress: {upstreams: {a: {url: 'http://a:1', auth: digest, from: 'env:X'}}}", "version: 1\negress: {upstreams: {a: {url: 'http://a:1', auth: ntlm}}}", "version: 1\negress: {upstreams: {a: {url: 'socks5://a:1', auth: ntlm, from: 'env:X'}}}", "version: 1\negress: {upstreams: {a: {urls: ['socks5://a:1'], auth: ntlm, from: 'env:X'}}}", "version: 1\negress: {upstreams: {a: {url: 'http://a:1', auth: ntlm, from: 'env:X', kdc: [k]}}}", "version: 1\negress: {upstreams: {a: {url: 'http://a:1', auth: basic}}}", "version: 1\negress: {upstreams: {a: {url: 'http://a:1', auth: negotiate, kdc: [k]}}}", "version: 1\negress: {upstreams: {a: {url: 'http://a:1', auth: negotiate, from: 'env:X'}}}",
		"version: 1\negress: {upstreams: {a: {url: 'http://a:1', auth: negotiate, from: 'env:X', kdc: [k], user: u}}}", "version: 1\negress: {upstreams: {a: {url: 'socks5://a:1', auth: negotiate, from: 'env:X', kdc: [k]}}}", "version: 1\negress: {upstreams: {a: {url: 'http://10.0.0.1:1', auth: negotiate, from: 'env:X', kdc: [k]}}}", "version: 1\negress: {upstreams: {a: {url: 'http://a:1', auth: negotiate, from: 'env:X', kdc: ['a/b']}}}",
		"version: 1\negress: {upstreams: {a: {urls: ['http://a:1', 'http://b:1'], auth: negotiate, from: 'env:X', kdc: [k]}}}", "version: 1\negress: {upstreams: {a: {url: 'http://a:1', from: 'env:X', kdc: [k]}}}", "version: 1\negress: {upstreams: {a: {url: 'http://a:1', auth: basic, from: 'env:X', kdc: [k]}}}", "version: 1\negress: {upstreams: {a: {url: 'http://a:1', except: ['a*']}}}", "version: 1\negress: {upstreams: {a: {url: 'http://a:1', other: 1}}}",
		"version: 1\negress: {allow: [a.example]}", "version: 1\negress: {allow: [{}]}",
		"version: 1\negress: {allow: [{host: a, cidr: 10.0.0.0/8}]}",
		"version: 1\negress: {allow: [{host: 1.2.3.4}]}", "version: 1\negress: {allow: [{host: '127.1'}]}",
		"version: 1\negress: {allow: [{host: 'a:80'}]}", "version: 1\negress: {allow: [{host: 'a*.b'}]}",
		"version: 1\negress: {allow: [{host: 'https://a/'}]}", "version: 1\negress: {allow: [{host: .a}]}", "version: 1\negress: {allow: [{host: a..b}]}",
		"version: 1\negress: {allow: [{host: localhost}]}", "version: 1\negress: {allow: [{host: host.penstock.internal}]}",
		"version: 1\negress: {allow: [{host: a, ports: []}]}", "version: 1\negress: {allow: [{host: a, ports: [0]}]}", "version: 1\negress: {allow: [{host: a, ports: [65536]}]}",
		"version: 1\negress: {allow: [{host: a, methods: [get]}]}", "version: 1\negress: {allow: [{host: a, methods: [CONNECT]}]}",
		"version: 1\negress: {allow: [{host: a, paths: [a]}]}", "version: 1\negress: {allow: [{host: a, paths: ['/a**']}]}", "version: 1\negress: {allow: [{host: a, paths: ['/a/../b']}]}", "version: 1\negress: {allow: [{host: a, paths: ['/a?b']}]}",
		"version: 1\negress: {allow: [{host: a, protocol: udp}]}", "version: 1\negress: {allow: [{host: a, protocol: tcp}]}", "version: 1\negress: {allow: [{host: a, protocol: [http, tcp]}]}",
		"version: 1\negress: {allow: [{host: a, protocol: tls, paths: [/]}]}", "version: 1\negress: {deny: [{host: a, protocol: tcp, methods: [GET]}]}",
		"version: 1\negress: {allow: [{host: a, inspect: false, paths: [/]}]}", "version: 1\negress: {allow: [{host: a, inspect: false, protocol: http}]}", "version: 1\negress: {allow: [{host: a, inspect: true, protocol: tls}]}",
		"version: 1\negress: {allow: [{host: a, inspect: 'no'}]}", "version: 1\negress: {allow: [{host: a, via: 'B C'}]}",
		"version: 1\negress: {deny: [{host: a, inspect: false}]}", "version: 1\negress: {deny: [{host: a, addresses: [10.0.0.0/8]}]}",
		"version: 1\negress: {allow: [{cidr: nonsense}]}", "version: 1\negress: {allow: [{host: a, addresses: [b]}]}",
		"version: 1\negress: {hosts: {a: b}}", "version: 1\negress: {hosts: {a: 0.0.0.0}}", "version: 1\negress: {hosts: {localhost: 1.1.1.1}}",
		"version: 1\nsandbox: {tier: none}", "version: 1\nsandbox: {worktree: 1}", "version: 1\nsandbox: {memory: 4}", "version: 1\nsandbox: {memory: 4G}",
		"version: 1\nsandbox: {cpus: 0}", "version: 1\nsandbox: {pids: 0}", "version: 1\nsandbox: {pids: 1.5}", "version: 1\nsandbox: {timeout: 5}", "version: 1\nsandbox: {timeout: -5s}",
		"version: 1\nfilesystem: {write: .}", "version: 1\nfilesystem: {write: ['']}", "version: 1\nfilesystem: {write: [~root]}", "version: 1\nfilesystem: {hide: ['*.pem']}",
		"version: 1\nenvironment: {pass: [A=b]}", "version: 1\nenvironment: {set: {A: 1}}", "version: 1\nenvironment: {set: {1A: x}}",
		"version: 1\nsecrets: [{name: A}]", "version: 1\nsecrets: [{name: A, from: x, hosts: [a.example], header: x}]",
		"version: 1\nsecrets: [{name: A, from: 'env:A', hosts: ['*'], header: x}]", "version: 1\nsecrets: [{name: A, from: 'env:A', hosts: ['*.com'], header: x}]",
		"version: 1\nsecrets: [{name: A, from: 'env:A', hosts: [], header: x}]", "version: 1\nsecrets: [{name: A, from: 'env:A', hosts: [a.example], header: 'x y'}]",
		"version: 1\negress: {allow: [{host: a, process: {}}]}", "version: 1\negress: {allow: [{host: a, process: /usr/bin/git}]}", "version: 1\negress: {allow: [{host: a, process: {exe: git}}]}",
		"version: 1\negress: {allow: [{host: a, process: {exe: /usr/../bin/git}}]}", "version: 1\negress: {allow: [{host: a, process: {exe: /}}]}", "version: 1\negress: {allow: [{host: a, process: {exe: /usr//git}}]}", "version: 1\negress: {allow: [{host: a, process: {exe: '/usr/bin/*'}}]}",
		"version: 1\negress: {allow: [{host: a, process: {exe: /usr/bin/git/}}]}", "version: 1\negress: {allow: [{host: a, process: {exe: ~root/git}}]}", "version: 1\negress: {allow: [{host: a, process: {exe: [/usr/bin/git]}}]}",
		"version: 1\negress: {deny: [{host: a, process: {exe: /usr/bin/git, sha256: ABC}}]}", "version: 1\negress: {deny: [{host: a, process: {profile: claude}}]}", "version: 1\negress: {deny: [{host: a, process: {exe: /a, name: b}}]}",
		"version: 1\negress: {allow: [{host: a, pin: {}}]}", "version: 1\negress: {allow: [{host: a, pin: K}]}", "version: 1\negress: {allow: [{cidr: 10.0.0.0/8, pin: {secret: K}}]}", "version: 1\negress: {allow: [{host: a, inspect: false, pin: {secret: K}}]}",
		"version: 1\negress: {allow: [{host: a, ports: [1], protocol: tcp, pin: {secret: K}}]}", "version: 1\negress: {allow: [{host: a, protocol: http, pin: {secret: K}}]}", "version: 1\negress: {allow: [{host: a, pin: {secret: 1K}}]}", "version: 1\negress: {allow: [{host: a, pin: {secret: K, header: 'a b'}}]}",
		"version: 1\negress: {allow: [{host: a, pin: {secret: K, pass_headers: [Cookie]}}]}", "version: 1\negress: {allow: [{host: a, pin: {secret: K, pass_query: ['']}}]}", "version: 1\negress: {deny: [{host: a, pin: {secret: K}}]}", "version: 1\negress: {allow: [{host: a, pin: {secret: K, other: 1}}]}",
		"version: 1\negress: {allow: [{host: a, budget: {}}]}", "version: 1\negress: {allow: [{host: a, budget: 5}]}", "version: 1\negress: {allow: [{host: a, budget: {per: hour}}]}", "version: 1\negress: {allow: [{host: a, budget: {requests: 0}}]}",
		"version: 1\negress: {allow: [{host: a, budget: {requests: 1, per: day}}]}", "version: 1\negress: {allow: [{host: a, budget: {rate: 5}}]}", "version: 1\negress: {allow: [{host: a, budget: {rate: 05/s}}]}", "version: 1\negress: {allow: [{host: a, budget: {rate: 10001/s}}]}",
		"version: 1\negress: {allow: [{host: a, budget: {rate: 1/s, per: hour}}]}", "version: 1\negress: {allow: [{host: a, budget: {bytes_in: 5}}]}", "version: 1\negress: {deny: [{host: a, budget: {requests: 1}}]}", "version: 1\negress: {allow: [{host: a, budget: {requests: 1, other: 1}}]}",
		"version: 1\negress: {allow: [{host: a, when: ''}]}", "version: 1\negress: {allow: [{host: a, when: true}]}", "version: 1\negress: {allow: [{host: a, inspect: false, when: 'true'}]}",
		"version: 1\negress: {allow: [{host: a, ports: [1], protocol: tcp, when: 'true'}]}", "version: 1\negress: {deny: [{host: a, protocol: [tls, https], when: 'true'}]}", "version: 1\negress: {deny: [{host: a, when: ['true']}]}",
		"version: 1\nsecrets: [{name: A, from: 'env:A', hosts: [a.example]}]", "version: 1\nsecrets: [{name: A, from: 'env:A', hosts: [a.example], header: x, query: y}]", "version: 1\nsecrets: [{name: A, from: 'env:A', hosts: [a.example], bearer: true, prefix: x}]",
		"version: 1\nsecrets: [{name: A, from: 'env:A', hosts: [a.example], bearer: false}]", "version: 1\nsecrets: [{name: A, from: 'env:A', hosts: [a.example], basic: {user: 'a:b'}}]", "version: 1\nsecrets: [{name: A, from: 'env:A', hosts: [a.example], basic: {}}]",
		"version: 1\nsecrets: [{name: A, from: 'env:A', hosts: [a.example], query: ''}]", "version: 1\nsecrets: [{name: A, from: 'env:A', hosts: [a.example], json: a..b}]", "version: 1\nsecrets: [{name: A, from: 'credential:a/b', hosts: [a.example], bearer: true}]",
		"version: 1\nsecrets: [{name: A, from: {oauth2: {token_url: 'http://login.example/t', client_id: a, client_secret: 'env:S'}}, hosts: [a.example], bearer: true}]", "version: 1\nsecrets: [{name: A, from: {oauth2: {token_url: 'https://login.example/t', client_id: a}}, hosts: [a.example], bearer: true}]",
		"version: 1\nsecrets: [{name: A, from: {oauth2: {token_url: 'https://login.example/t', client_id: a, client_secret: literal}}, hosts: [a.example], bearer: true}]", "version: 1\nsecrets: [{name: A, from: {oauth2: {token_url: 'https://login.example/t', client_id: a, client_secret: 'env:S', scopes: ['a b']}}, hosts: [a.example], bearer: true}]",
		"version: 1\nsecrets: [{name: A, from: {vault: {url: 'https://vault.example/v1', path: a, field: b, token: 'env:T'}}, hosts: [a.example], bearer: true}]", "version: 1\nsecrets: [{name: A, from: {vault: {url: 'https://vault.example', path: a/../b, field: b, token: 'env:T'}}, hosts: [a.example], bearer: true}]",
		"version: 1\nsecrets: [{name: A, from: {vault: {url: 'https://vault.example', path: a, field: b, token: 'env:T', kv: 3}}, hosts: [a.example], bearer: true}]", "version: 1\nsecrets: [{name: A, from: {vault: {url: 'https://vault.example', path: a, field: b}}, hosts: [a.example], bearer: true}]",
		"version: 1\nsecrets: [{name: A, from: 'env:A', hosts: [a.example], aws: {access_key: 'env:A', secret_key: 'env:B', services: [s3], regions: [x]}}]", "version: 1\nsecrets: [{name: A, bearer: true, hosts: [a.example], aws: {access_key: 'env:A', secret_key: 'env:B', services: [s3], regions: [x]}}]",
		"version: 1\nsecrets: [{name: A, hosts: [a.example], aws: {access_key: 'env:A', secret_key: 'env:B', services: [], regions: [x]}}]", "version: 1\nsecrets: [{name: A, hosts: [a.example], aws: {access_key: 'env:A', secret_key: 'env:B', services: [s3], regions: [X y]}}]",
		"version: 1\nsecrets: [{name: A, hosts: [a.example], aws: {access_key: 'env:A', services: [s3], regions: [x]}}]",
		"version: 1\nsecrets: [{name: A, from: {command: [x], every: 0}, hosts: [a.example], bearer: true}]", "version: 1\nsecrets: [{name: A, from: {command: [x], expires: 1h}, hosts: [a.example], bearer: true}]",
		"version: 1\nsecrets: [{name: A, from: {}, hosts: [a.example], bearer: true}]", "version: 1\nsecrets: [{name: A, from: {command: []}, hosts: [a.example], bearer: true}]", "version: 1\nsecrets: [{name: A, from: {command: [./x]}, hosts: [a.example], bearer: true}]", "version: 1\nsecrets: [{name: A, from: 'credential:.x', hosts: [a.example], bearer: true}]",
		"version: 1\nsecrets: [{name: A, from: 'env:A', hosts: [a.example], websocket: token}]", "version: 1\nsecrets: [{name: A, from: 'env:A', hosts: [a.example], websocket: {}}]", "version: 1\nsecrets: [{name: A, from: 'env:A', hosts: [a.example], websocket: {json: a..b}}]", "version: 1\nsecrets: [{name: A, from: 'env:A', hosts: [a.example], websocket: {json: a}, json: a}]",
		"version: 1\negress: {upstreams: {a: {pac: 'http://wpad.example/proxy.pac', among: [direct]}}}", "version: 1\negress: {upstreams: {a: {pac: /p.pac, refresh: 1h, among: [direct]}}}", "version: 1\negress: {upstreams: {a: {pac: /p.pac, addresses: [10.0.0.0/8], among: [direct]}}}", "version: 1\negress: {upstreams: {a: {url: 'http://p.example:1', refresh: 1h}}}",
		"version: 1\nsecrets: [{name: A, from: {keyring: a, command: [b]}, hosts: [a.example], bearer: true}]", "version: 1\nsecrets: [{name: A, from: {keyring: 'a=b,'}, hosts: [a.example], bearer: true}]", "version: 1\nsecrets: [{name: A, from: {keyring: a, expires: 1h}, hosts: [a.example], bearer: true}]",
		"version: 1\negress: {upstreams: {a: {url: 'http://p.example:1', from: {keyring: a, every: 1m}}}}", "version: 1\negress: {upstreams: {a: {url: 'http://p.example:1', from: {command: [a], every: 1m}}}}", "version: 1\negress: {upstreams: {a: {url: 'http://p.example:1', auth: negotiate, from: 'keyring:a', kdc: [k.example]}}}", "version: 1\negress: {upstreams: {a: {url: 'http://p.example:1', auth: negotiate, from: {command: [a]}, kdc: [k.example]}}}",
		"version: 1\nhooks: [{name: a, on: [request], http: 'https://a.example/', key: {keyring: a, every: 1m}}]", "version: 1\nhooks: [{name: a, on: [request], http: 'https://a.example/', key: 'keyring:'}]",
		"version: 1\nsecrets: [{name: A, from: 'keyring:', hosts: [a.example], bearer: true}]", "version: 1\nsecrets: [{name: A, from: 'keyring:a=', hosts: [a.example], bearer: true}]", "version: 1\nsecrets: [{name: A, from: 'keyring:a=b,', hosts: [a.example], bearer: true}]", "version: 1\nsecrets: [{name: A, from: 'keyring:a=b, c=d', hosts: [a.example], bearer: true}]", "version: 1\nsecrets: [{name: A, from: 'keyring: a', hosts: [a.example], bearer: true}]", "version: 1\nsecrets: [{name: A, from: 'keyring:a=b,c', hosts: [a.example], bearer: true}]",
		"version: 1\nsandbox: {tiers: []}", "version: 1\nsandbox: {tiers: bwrap}", "version: 1\nsandbox: {tiers: [auto]}", "version: 1\nsandbox: {tiers: [bwrap, bwrap]}",
		"version: 1\nsandbox: {idle: 5}", "version: 1\nsandbox: {on_violation: stop}", "version: 1\nlimits: {on_violation: [kill]}", "version: 1\nlimits: {idle: 0s x}",
		"version: 1\nlimits: {modes: [audit]}", "version: 1\nlimits: {tier: auto}", "version: 1\nlimits: {egress: ['a*b']}", "version: 1\nlimits: {protocols: [udp]}",
	}
)

func TestSchema(t *testing.T) {
	s, err := jsonschema.NewCompiler().Compile("../docs/schema/policy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(text string) error {
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return s.Validate(v)
	}
	for _, text := range append(goodTexts, goodSpeech...) {
		if err := check(text); err != nil {
			t.Errorf("the schema refuses %s: %v", text, err)
		}
		if _, err := Parse("f", User, []byte(text)); err != nil {
			t.Errorf("the parser refuses %s: %v", text, err)
		}
	}
	for _, text := range append(badTexts, badSpeech...) {
		if check(text) == nil {
			t.Errorf("the schema takes %s", text)
		}
		if _, err := Parse("f", User, []byte(text)); err == nil {
			t.Errorf("the parser takes %s", text)
		}
	}
}

// TestSchemaKnowsAllKeys: what the parser offers in a hint, the schema has, and
// no more. The parser's words come from its own errors.
func TestSchemaKnowsAllKeys(t *testing.T) {
	s, err := jsonschema.NewCompiler().Compile("../docs/schema/policy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if s.Ref != nil {
		s = s.Ref
	}
	keys := func(s *jsonschema.Schema) map[string]bool {
		for s.Ref != nil && s.Properties == nil {
			s = s.Ref
		}
		out := map[string]bool{}
		for k := range s.Properties {
			out[k] = true
		}
		return out
	}
	section := func(n string) *jsonschema.Schema { return s.Properties[n] }
	item := func(s *jsonschema.Schema) *jsonschema.Schema {
		i, ok := s.Items2020, s.Items2020 != nil
		if !ok {
			t.Fatalf("%s has no items", s.Location)
		}
		return i
	}
	rule := item(section("egress").Properties["allow"])
	if rule.Ref != nil {
		rule = rule.Ref
	}
	for text, have := range map[string]map[string]bool{
		"zzzzzzzzz: 1":                                 keys(s),
		"sandbox: {zzzzzzzzz: 1}":                      keys(section("sandbox")),
		"filesystem: {zzzzzzzzz: 1}":                   keys(section("filesystem")),
		"environment: {zzzzzzzzz: 1}":                  keys(section("environment")),
		"egress: {zzzzzzzzz: 1}":                       keys(section("egress")),
		"limits: {zzzzzzzzz: 1}":                       keys(section("limits")),
		"hooks: [{zzzzzzzzz: 1}]":                      keys(item(section("hooks"))),
		"secrets: [{zzzzzzzzz: 1}]":                    keys(item(section("secrets"))),
		"egress: {allow: [{process: {zzzzzzzzz: 1}}]}": keys(rule.Properties["process"]),
		"egress: {allow: [{pin: {zzzzzzzzz: 1}}]}":     keys(rule.Properties["pin"]),
		"egress: {allow: [{budget: {zzzzzzzzz: 1}}]}":  keys(rule.Properties["budget"]),
		"egress: {allow: [{zzzzzzzzz: 1}]}":            keys(item(section("egress").Properties["allow"])),
		"egress: {upstreams: {a: {zzzzzzzzz: 1}}}":     keys(section("egress").Properties["upstreams"].AdditionalProperties.(*jsonschema.Schema)),
	} {
		_, err := Parse("f", User, []byte("version: 1\n"+text))
		if err == nil {
			t.Fatalf("%s: no error", text)
		}
		_, list, ok := strings.Cut(err.Error(), "known here: ")
		if !ok {
			t.Fatalf("%s: no list of keys in %v", text, err)
		}
		list, _, _ = strings.Cut(list, "\n")
		for _, k := range strings.Split(list, ", ") {
			if !have[k] {
				t.Errorf("%s: the schema lacks %s", text, k)
			}
			delete(have, k)
		}
		for k := range have {
			t.Errorf("%s: the parser lacks %s", text, k)
		}
	}
}
