package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestParseErrors holds the words of every error to what a person needs: where,
// what, and what to do.
func TestParseErrors(t *testing.T) {
	rule := func(s string) string { return "version: 1\negress:\n  allow:\n    - " + s + "\n" }
	deny := func(s string) string { return "version: 1\negress:\n  deny:\n    - " + s + "\n" }
	v1 := func(s string) string { return "version: 1\n" + s + "\n" }
	for _, tt := range []struct{ text, want string }{
		{"", "f:1:1: the file is empty; begin with: version: 1"},
		{"# only a comment\n", "f:1:1: the file is empty"},
		{"---\n", "f:1:1: the file is empty"},
		{"egress: {}\n", "f:1:1: the policy has no version; write it as the first line: version: 1"},
		{"version: 2\n", `f:1:10: version "2" is not supported`},
		{"version: \"1\"\n", `f:1:10: version "1" is not supported`},
		{"- a\n", "f:1:1: the policy must be a mapping, not a list"},
		{"hello\n", `f:1:1: the policy must be a mapping, not "hello"`},
		{v1("egres: {}"), `f:2:1: unknown key "egres" in the policy; did you mean "egress"?`},
		{v1("zebra: {}"), `f:2:1: unknown key "zebra" in the policy; known here: version, sandbox, filesystem, environment, egress, secrets, limits`},
		{v1("egress: {allow: [{host: a.example, budget: {}}]}"), "the budget limits nothing; for example budget: {requests: 1000, per: hour}"},
		{v1("egress: {allow: [{host: a.example, budget: {requests: 0}}]}"), "budget.requests must be a whole number from 1"},
		{v1("egress: {allow: [{host: a.example, budget: {bytes_out: 10}}]}"), "budget.bytes_out must be a size in bytes with a unit"},
		{v1("egress: {allow: [{host: a.example, budget: {rate: 5 per second}}]}"), `budget.rate "5 per second" is not a number`},
		{v1("egress: {allow: [{host: a.example, budget: {rate: 5/s, per: hour}}]}"), "per has no meaning without requests"},
		{v1("egress: {allow: [{host: a.example, budget: {requests: 5, per: hours}}]}"), `budget.per can't be "hours"; did you mean "hour"?`},
		{v1("egress: {deny: [{host: a.example, budget: {requests: 5}}]}"), "budget has no meaning in a deny rule"},
		{v1("egress: {allow: [{host: a.example, capture: {}}]}"), "the capture keeps nothing; for example capture: {request: 64KiB, response: 64KiB}"},
		{v1("egress: {allow: [{host: a.example, capture: {request: 64}}]}"), "capture.request must be a size in bytes with a unit"},
		{v1("egress: {allow: [{host: a.example, capture: {response: 2MiB}}]}"), "capture.response is not from 1B to 1MiB"},
		{v1("egress: {allow: [{host: a.example, capture: {body: 1KiB}}]}"), "body"},
		{v1("egress: {deny: [{host: a.example, capture: {request: 1KiB}}]}"), "capture has no meaning in a deny rule"},
		{v1("egress: {allow: [{host: a.example, inspect: false, capture: {request: 1KiB}}]}"), "capture"},
		{v1("egress: {allow: [{host: a.example, protocol: tcp, ports: [22], capture: {request: 1KiB}}]}"), "capture can't be seen in tcp"},
		{v1("egress: {allow: [{host: a.example, pin: {}}]}"), "pin has no secret; for example pin: {secret: EXAMPLE_API_KEY}"},
		{v1("egress: {allow: [{host: a.example, pin: K}]}"), "pin must be a mapping"},
		{v1("egress: {allow: [{host: a.example, pin: {secret: 1K}}]}"), "f:2:36: this is not a pin"},
		{v1("egress: {allow: [{host: a.example, pin: {secret: K, header: host}}]}"), "frames or routes a message"},
		{v1("egress: {allow: [{host: a.example, pin: {secret: K, pass_headers: [cookie]}}]}"), "carries credentials and nothing else"},
		{v1("egress: {allow: [{host: a.example, pin: {secret: K, pass_headers: ['x y']}}]}"), "is not the name of a header"},
		{v1("egress: {allow: [{host: a.example, pin: {secret: K, pass_query: ['']}}]}"), "is not the name of a query parameter"},
		{v1("egress: {allow: [{host: a.example, inspect: false, pin: {secret: K}}]}"), "pin can't be enforced in tls; let the rule be inspected"},
		{v1("egress: {allow: [{host: a.example, ports: [22], protocol: tcp, pin: {secret: K}}]}"), "pin can't be enforced in tcp"},
		{v1("egress: {allow: [{host: a.example, protocol: http, pin: {secret: K}}]}"), "pin does not go with http: the secret would travel in clear text"},
		{v1("egress: {allow: [{cidr: 10.0.0.0/8, pin: {secret: K}}]}"), "a rule about addresses can't pin"},
		{v1("egress: {deny: [{host: a.example, pin: {secret: K}}]}"), "pin"},
		{v1("sandbox: {worktree: yes please}"), `sandbox.worktree must be true or false`},
		{v1("egress: {}\negress: {}"), `f:3:1: key "egress" is here twice, first at line 2`},
		{rule("{host: a.example, host: b.example}"), `f:4:25: key "host" is here twice`},
		{v1("egress: &x {}"), "f:2:9: anchors are not allowed in a policy; remove &x"},
		{v1("egress: &x {}\nlimits: *x"), "f:3:9: aliases are not allowed"},
		{rule("{host: *.example.com}"), `f:4:1: this is not YAML: did not find expected alphabetic or numeric character; text that begins with * needs quotes: "*.example.com"`},
		{rule("host: *.example.com"), `text that begins with * needs quotes: "*.example.com"`},
		{rule("host: *"), "text that begins with * needs quotes"},
		{rule("<<: {host: a.example}"), "merge keys are not allowed"},
		{rule("!!str host: a.example"), "tags are not allowed"},
		{v1("egress: !!binary aGk="), "f:2:9: tags are not allowed"},
		{v1("egress: [" + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "]"), "nested more than 16 deep"},
		{"version: 1\n---\nversion: 1\n", "f:2:1: the file has a second document"},
		{"version: 1\n\tegress: x\n", "f:2:1: this is not YAML: found a tab character that violates indentation; indent with spaces"},
		{"version: 1\negress: {allow: [\n", "this is not YAML"},
		{"version: 1\n# \xff\n", "f:2:1: the file is not UTF-8"},
		{"version: 1\n# \x1b[2J\n", "f:2:1: the file has the control character U+001B"},
		{"version: 1\n# \u202e\n", "f:2:1: the file has the invisible character U+202E"},
		{"version: 1\n# a\u200bb\n", "invisible character U+200B"},
		{v1("egress: {default: alow}"), `f:2:19: egress.default can't be "alow"; did you mean "allow"?`},
		{v1("egress: {default: maybe}"), `known here: deny, ask, allow`},
		{v1("egress: {allow: }"), "egress.allow must be a list, not nothing; write [] for an empty list"},
		{v1("egress: {allow: a.example}"), `egress.allow must be a list, not "a.example"`},
		{rule("a.example"), `f:4:7: an allow rule must be a mapping, not "a.example"; write {host: "a.example"}`},
		{rule("{}"), "f:4:7: the rule has neither host nor cidr"},
		{rule("{host: a.example, cidr: 10.0.0.0/8}"), "f:4:25: a rule has host or cidr, not both"},
		{rule("{host: 12}"), `host must be text, not int "12"; put it in quotes: "12"`},
		{rule("{host: ''}"), "host is empty"},
		{rule("{host: 'https://a.example/x'}"), `host "https://a.example/x" is a URL; write host: a.example and paths: ["/x"]`},
		{rule("{host: 'a.example:8443'}"), `host "a.example:8443" has a port; write host: a.example with ports: [8443]`},
		{rule("{host: a.example/x}"), `host "a.example/x" has a path`},
		{rule("{host: 10.0.0.1}"), `host "10.0.0.1" is an address; names are judged as names and addresses as addresses: write cidr: 10.0.0.1`},
		{rule("{host: '::1'}"), "is an address"},
		{rule("{host: 10.0.0.0/8}"), "is an address range; write cidr: 10.0.0.0/8"},
		{rule("{host: .example.com}"), `begins with a dot; write "*.example.com" for what is below it, "example.com" for the name itself`},
		{rule("{host: 'a*.example.com'}"), "has a * that is not a whole first label"},
		{rule("{host: '**.example.com'}"), "has a * that is not a whole first label"},
		{rule("{host: '*.*.com'}"), "has a * that is not a whole first label"},
		{rule("{host: '*.'}"), "is not a host name"},
		{rule("{host: a_é b}"), "is not a host name"},
		{rule("{host: '127.1'}"), "may be read as, an address"},
		{rule("{host: localhost}"), "f:4:8: a rule for localhost would never be used; a pen's localhost is its own"},
		{rule("{host: host.penstock.internal}"), "host host.penstock.internal needs ports"},
		{rule("{host: '*.host.penstock.internal'}"), "nothing is below"},
		{rule("{host: host.penstock.internal, ports: [1], addresses: [10.0.0.0/8]}"), "is always the host's loopback"},
		{rule("{cidr: 10.0.0.1/8}"), `f:4:14: range "10.0.0.1/8" has bits set after its first 8; write 10.0.0.0/8, or 10.0.0.1 for the one address`},
		{rule("{cidr: 10.0.0.0/33}"), "is not an address range"},
		{rule("{cidr: '::ffff:10.0.0.0/104'}"), "is an IPv4 range in IPv6"},
		{rule("{cidr: 'fe80::1%eth0'}"), "has a zone"},
		{rule("{cidr: 127.0.0.0/8}"), "a rule for 127.0.0.0/8 would never be used"},
		{rule("{cidr: 224.0.0.0/4}"), "nothing can be reached at 224.0.0.0/4"},
		{rule("{cidr: a.example}"), `"a.example" is not an address range`},
		{rule("{host: a.example, ports: []}"), "ports is empty"},
		{rule("{host: a.example, ports: 443}"), `ports must be a list, not int "443"; write it as a list: ["443"]`},
		{rule("{host: a.example, ports: [0]}"), "a port must be a number from 1 to 65535"},
		{rule("{host: a.example, ports: [70000]}"), "a port must be a number from 1 to 65535"},
		{rule("{host: a.example, ports: [0x1bb]}"), "a port must be a number from 1 to 65535"},
		{rule("{host: a.example, ports: ['20-10']}"), "a port must be a number"},
		{rule("{host: a.example, ports: [80, 80]}"), `port "80" is here twice`},
		{rule("{host: a.example, methods: [get]}"), `method "get" is not a method; did you mean "GET"?`},
		{rule("{host: a.example, methods: ['*']}"), "leave methods out for any method"},
		{rule("{host: a.example, methods: [CONNECT]}"), "method CONNECT can't be matched"},
		{rule("{host: a.example, methods: []}"), "methods is empty"},
		{rule("{host: a.example, methods: [GET, GET]}"), `"GET" is in methods twice`},
		{rule("{host: a.example, paths: []}"), "paths is empty"},
		{rule("{host: a.example, paths: [a]}"), `path "a" does not begin with a slash; write "/a"`},
		{rule("{host: a.example, paths: ['/a?b=c']}"), "has a ? or #"},
		{rule("{host: a.example, paths: ['/a**']}"), `has "**" within a segment`},
		{rule("{host: a.example, paths: ['/a/../b']}"), `path "/a/../b" has dot segments; write "/b"`},
		{rule("{host: a.example, paths: ['/..%2fb']}"), "can't be matched"},
		{rule("{host: a.example, paths: ['/a b']}"), "write %20 for a space"},
		{rule("{host: a.example, protocol: htps}"), `protocol can't be "htps"; did you mean "https"?`},
		{rule("{host: a.example, protocol: udp}"), `protocol can't be "udp"; did you mean "tcp"?`},
		{rule("{host: a.example, protocol: []}"), "protocol is empty"},
		{rule("{host: a.example, protocol: tcp}"), "f:4:25: protocol tcp needs ports"},
		{rule("{host: a.example, ports: [1], protocol: tcp, methods: [GET]}"), "f:4:52: methods can't be seen in tcp"},
		{rule("{host: a.example, protocol: tls, paths: [/a]}"), "paths can't be seen in tls"},
		{rule("{host: a.example, inspect: false, paths: [/a]}"), "f:4:41: paths can't be seen with inspect: false; remove paths, or remove inspect: false"},
		{rule("{cidr: 10.0.0.0/8, ports: [1], protocol: tcp, paths: [/a]}"), "paths can't be seen in tcp"},
		{rule("{host: a.example, inspect: false, protocol: http}"), "inspect: false does not go with protocol http"},
		{rule("{host: a.example, inspect: true, protocol: tls}"), "tls is not inspected"},
		{rule("{host: a.example, inspect: no}"), `inspect must be true or false, not "no"`},
		{rule("{host: a.example, addresses: [a]}"), "is not an address range"},
		{rule("{host: a.example, addresses: []}"), "addresses is empty"},
		{deny("{host: a.example, addresses: [10.0.0.0/8]}"), "addresses has no meaning in a deny rule"},
		{deny("{host: a.example, inspect: false}"), "inspect has no meaning in a deny rule"},
		{deny("{host: a.example, protocol: tcp, paths: [/a]}"), "paths can't be seen in tcp"},
		{v1("egress: {hosts: [a]}"), "egress.hosts must be a mapping"},
		{v1("egress: {hosts: {a.example: b}}"), `address "b" of a.example is not an address`},
		{v1("egress: {hosts: {a.example: 0.0.0.0}}"), "is no host's address"},
		{v1("egress: {hosts: {a.example: 1.1.1.1, A.example.: 1.1.1.2}}"), "is in egress.hosts twice"},
		{v1("egress: {hosts: {host.penstock.internal: 1.1.1.1}}"), "can't be given another address"},
		{v1("sandbox: {tier: gvizor}"), `sandbox.tier can't be "gvizor"; did you mean "gvisor"?`},
		{v1("sandbox: {tier: none}"), `sandbox.tier can't be "none"`},
		{v1("sandbox: {tiers: []}"), "sandbox.tiers is empty"},
		{v1("sandbox: {tiers: bwrap}"), "sandbox.tiers must be a list"},
		{v1("sandbox: {tiers: [bwrap, auto]}"), `sandbox.tiers can't have "auto"`},
		{v1("sandbox: {tiers: [bwrap, none]}"), `sandbox.tiers can't have "none"`},
		{v1("sandbox: {tiers: [gvizor]}"), `sandbox.tiers can't have "gvizor"; did you mean "gvisor"?`},
		{v1("sandbox: {tiers: [bwrap, gvisor, bwrap]}"), `"bwrap" is in sandbox.tiers twice`},
		{v1("sandbox: {memory: 4}"), "sandbox.memory must be a size in bytes with a unit"},
		{v1("sandbox: {memory: 4G}"), "for example 512MiB, 4GiB"},
		{v1("sandbox: {cpus: -1}"), "sandbox.cpus must be a number from 0.01"},
		{v1("sandbox: {cpus: .nan}"), "sandbox.cpus must be a number from 0.01"},
		{v1("sandbox: {pids: 0}"), "sandbox.pids must be a whole number"},
		{v1("sandbox: {pids: 1e3}"), "sandbox.pids must be a whole number"},
		{v1("sandbox: {timeout: 5}"), "sandbox.timeout must be a duration"},
		{v1("sandbox: {timeout: -5s}"), "sandbox.timeout must be a duration"},
		{v1("filesystem: {write: ['~root/x']}"), "names another user's home"},
		{v1("filesystem: {hide: ['*.pem']}"), "has a wildcard"},
		{v1("filesystem: {read: ['']}"), "is empty"},
		{v1("filesystem: {read: [$HOME/x]}"), "has a variable; write ~/"},
		{v1("environment: {pass: ['A=b']}"), "is not a name of a variable"},
		{v1("environment: {pass: ['*_KEY']}"), "is not a name of a variable"},
		{v1("environment: {set: {CI: 1}}"), `f:2:25: the value of CI must be text, not int "1"; put it in quotes: "1"`},
		{v1("environment: {set: {1A: x}}"), "is not a name of a variable"},
		{v1("environment: {set: {A: x, A: y}}"), "variable A is here twice"},
		{v1("environment: {proxy_variables: 1}"), "must be true or false"},
		{v1("secrets: [{name: A}]"), "f:2:11: the secret has no from"},
		{v1("secrets: [{name: A, from: 'sk-live-123', hosts: [a.example], header: x}]"), "from is neither env:, file:, credential:, keyring: nor a command"},
		{v1("secrets: [{name: A, from: 'env:A', hosts: [a.example]}]"), "the secret has no header, nor another place; write header: NAME, bearer: true"},
		{v1("secrets: [{name: A, from: 'env:A', hosts: [a.example], header: x, query: y}]"), "the secret has header and query; a secret has one place"},
		{v1("secrets: [{name: A, from: 'env:A', hosts: [a.example], bearer: true, prefix: x}]"), "prefix goes with header only"},
		{v1("secrets: [{name: A, from: 'env:A', hosts: [a.example], bearer: false}]"), "bearer: false says nothing"},
		{v1("secrets: [{name: A, from: 'env:A', hosts: [a.example], basic: {}}]"), "basic has no user"},
		{v1("secrets: [{name: A, from: 'env:A', hosts: [a.example], basic: {user: 'a:b'}}]"), "without a colon"},
		{v1("secrets: [{name: A, from: 'env:A', hosts: [a.example], query: ''}]"), "is not the name of a query parameter"},
		{v1("secrets: [{name: A, from: 'env:A', hosts: [a.example], json: 'a..b'}]"), "is not the place of a field"},
		{v1("secrets: [{name: A, from: 'env:A', hosts: [a.example], websocket: {json: 'a..b'}}]"), "is not the place of a field"},
		{v1("secrets: [{name: A, from: 'env:A', hosts: [a.example], websocket: {}}]"), "websocket has no json; for example websocket: {json: payload.token}"},
		{v1("secrets: [{name: A, from: 'env:A', hosts: [a.example], websocket: {json: a}, query: b}]"), "the secret has query and websocket"},
		{v1("secrets: [{name: A, from: 'env:A', hosts: [a.example], websocket: {json: a}, prefix: b}]"), "prefix goes with header only"},
		{v1("secrets: [{name: A, from: 'credential:a/b', hosts: [a.example], bearer: true}]"), "is not a name of a credential"},
		{v1("secrets: [{name: A, from: 'credential:..', hosts: [a.example], bearer: true}]"), "is not a name of a credential"},
		{v1("secrets: [{name: A, from: 'keyring:', hosts: [a.example], bearer: true}]"), "the item of from is empty; write keyring:ATTRIBUTE=VALUE"},
		{v1("secrets: [{name: A, from: 'keyring:a=b,c', hosts: [a.example], bearer: true}]"), "the item of from has an attribute without name or value"},
		{v1("secrets: [{name: A, from: 'keyring:a=b,=c', hosts: [a.example], bearer: true}]"), "the item of from has an attribute without name or value"},
		{v1("secrets: [{name: A, from: 'keyring:a=b, c=d', hosts: [a.example], bearer: true}]"), "a space at an end of a name or a value"},
		{v1("secrets: [{name: A, from: 'keyring:a=b,a=c', hosts: [a.example], bearer: true}]"), "has an attribute twice"},
		{v1("secrets: [{name: A, from: 'keyring:a ', hosts: [a.example], bearer: true}]"), "has a space at an end"},
		{v1("secrets: [{name: A, from: \"keyring:a\\tb\", hosts: [a.example], bearer: true}]"), "characters that can't be printed"},
		{v1("secrets: [{name: A, from: 'keyring:" + strings.Repeat("x", 1025) + "', hosts: [a.example], bearer: true}]"), "longer than 1024 bytes"},
		{v1("secrets: [{name: A, from: 'keyring:a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1,j=1,k=1,l=1,m=1,n=1,o=1,p=1,q=1', hosts: [a.example], bearer: true}]"), "more than 16 attributes"},
		{v1("secrets: [{name: A, from: {}, hosts: [a.example], bearer: true}]"), "from has no command"},
		{v1("secrets: [{name: A, from: {command: [./x]}, hosts: [a.example], bearer: true}]"), "from.command is not a program, by name or absolute path"},
		{v1("secrets: [{name: A, from: {command: pass}, hosts: [a.example], bearer: true}]"), "from.command must be a list"},
		{v1("secrets: [{name: 1A, from: 'env:A', hosts: [a.example], header: x}]"), "is not a name of a variable"},
		{v1("secrets: [{name: A, from: 'env:A', hosts: ['*'], header: x}]"), `a secret can't go to "*"`},
		{v1("secrets: [{name: A, from: 'env:A', hosts: ['*.com'], header: x}]"), `a secret can't go to "*.com"`},
		{v1("secrets: [{name: A, from: 'env:A', hosts: [], header: x}]"), "hosts is empty"},
		{v1("secrets: [{name: A, from: 'env:A', hosts: [a.example], header: 'x: y'}]"), "is not the name of a header"},
		{v1("secrets: [{name: A, from: 'env:A', hosts: [a.example], header: host}]"), "frames or routes a message"},
		{v1("secrets: [{name: A, from: 'env:A', hosts: [a.example], header: proxy-authorization}]"), "frames or routes a message"},
		{v1("secrets: [{name: A, from: 'env:A', hosts: [a.example], header: x, prefix: \"a\\nb\"}]"), "printable ASCII"},
		{v1("secrets:\n- {name: A, from: 'env:A', hosts: [a.example], header: x}\n- {name: A, from: 'env:B', hosts: [b.example], header: x}"), "f:4:3: secret A is here twice, first at line 3"},
		{v1("limits: {egress: ['a*b']}"), "in limits.egress: host"},
		{v1("limits: {modes: [audit]}"), "limits.modes without enforce"},
		{v1("limits: {modes: [enforc]}"), `limits.modes can't have "enforc"; did you mean "enforce"?`},
		{v1("limits: {tier: auto}"), "limits.tier can't be"},
		{v1("hooks: [{on: [request], cel: 'a'}]"), "the hook has no name"},
		{v1("hooks: [{name: a, on: [request]}]"), "the hook has neither cel, http, grpc, wasm, exec nor exec_once"},
		{v1("hooks: [{name: a, cel: 'a'}]"), "the hook has no on"},
		{v1("hooks: [{name: A b, on: [request], cel: 'a'}]"), `"A b" can't be the name of a hook`},
		{v1("hooks: [{name: a, on: [reqest], cel: 'a'}]"), `on can't have "reqest"; did you mean "request"?`},
		{v1("hooks: [{name: a, on: [], cel: 'a'}]"), "on is empty"},
		{v1("hooks: [{name: a, on: [request], hosts: [], cel: 'a'}]"), "hosts is empty"},
		{v1("hooks: [{name: a, on: [request], hosts: ['a*b'], cel: 'a'}]"), "in hosts: host"},
		{v1("hooks: [{name: a, on: [request], cel: 'a', timeout: 31s}]"), "f:2:53: a timeout of 31s is too long"},
		{v1("hooks: [{name: a, on: [request], cel: 'a', concurrency: 0}]"), "from 1 to 1024"},
		{v1("hooks: [{name: a, on: [request], http: 'https://a.example/'}]"), "the hook has no key to sign"},
		{v1("hooks: [{name: a, on: [request], http: 'http://a.example/', key: 'env:A'}]"), "is not one of https"},
		{v1("hooks: [{name: a, on: [request], http: 'https://u@a.example/', key: 'env:A'}]"), "can't be asked"},
		{v1("hooks: [{name: a, on: [request], http: 'https://a.example/#b', key: 'env:A'}]"), "is not one of https"},
		{v1("hooks: [{name: a, on: [request], http: 'https://host.penstock.internal:1/', key: 'env:A'}]"), "the host's loopback"},
		{v1("hooks: [{name: a, on: [request], http: 'https://a.example/', key: hunter2}]"), "key is neither env:, file:, credential:, keyring: nor a command; write env:NAME, file:PATH, credential:NAME, keyring:ATTRIBUTE=VALUE or {command: [PROGRAM, ARGUMENT]}; a key never stands in a policy"},
		{v1("hooks: [{name: a, on: [request], http: 'https://a.example/', key: 'credential:a/b'}]"), "is not a name of a credential"},
		{v1("hooks: [{name: a, on: [request], http: 'https://a.example/', key: {command: [a], every: 1m}}]"), "key.every is for secrets: a key is read when the session begins; remove it"},
		{v1("hooks: [{name: a, on: [request], http: 'https://a.example/', key: {file: a}}]"), "unknown key"},
		{v1("hooks: [{name: a, on: [request], http: 'https://a.example/', key: 'keyring:a=b,c'}]"), "the item of key has an attribute without name or value; write keyring:ATTRIBUTE=VALUE"},
		{v1("egress: {upstreams: {p: {url: 'http://p.example:1', from: 'keyring: a'}}}"), "the item of from has a space at an end"},
		{v1("egress: {upstreams: {p: {url: 'http://p.example:1', from: {keyring: a, every: 1m}}}}"), "from.every is for secrets: a proxy's password is read when the session begins"},
		{v1("egress: {upstreams: {p: {url: 'http://p.example:1', from: hunter2}}}"), "a proxy's password never stands in a policy"},
		{v1("egress: {upstreams: {p: {url: 'http://p.example:1', auth: negotiate, from: 'keyring:a', kdc: [k.example]}}}"), "upstream p has a credential cache that is in no file"},
		{v1("secrets: [{name: A, from: {keyring: a, command: [b]}, hosts: [a.example], bearer: true}]"), "from has both a command and a keyring; remove one of them"},
		{v1("secrets: [{name: A, from: {keyring: 'a=b,'}, hosts: [a.example], bearer: true}]"), "write keyring: ATTRIBUTE=VALUE,ATTRIBUTE=VALUE or keyring: LABEL"},
		{v1("secrets: [{name: A, from: {keyring: a, every: 10ms}, hosts: [a.example], bearer: true}]"), "from.every is less than 1s"},
		{v1("secrets: [{name: A, from: {keyring: a, expires: 1h}, hosts: [a.example], bearer: true}]"), "from.expires needs every"},
		{v1("hooks: [{name: a, on: [request], cel: 'a', key: 'env:A'}]"), "key has no meaning for cel"},
		{v1("hooks: [{name: a, on: [request], cel: 'a', http: 'https://a.example/', key: 'env:A'}]"), "both cel and http"},
		{v1("hooks: [{name: a, on: [request], grpc: x}]"), "is not one of https or http"},
		{v1("hooks: [{name: a, on: [request], grpc: 'http://a.example'}]"), "is in clear, and not of the host's loopback"},
		{v1("hooks: [{name: a, on: [request], grpc: 'http://10.0.0.1:1'}]"), "is in clear, and not of the host's loopback"},
		{v1("hooks: [{name: a, on: [request], grpc: 'https://host.penstock.internal:1'}]"), "a name that no certificate is for"},
		{v1("hooks: [{name: a, on: [request], grpc: 'https://a.example/x'}]"), "has a path"},
		{v1("hooks: [{name: a, on: [request], grpc: 'https://a.example/?x'}]"), "has a path"},
		{v1("hooks: [{name: a, on: [request], grpc: 'https://u@a.example'}]"), "can't be asked"},
		{v1("hooks: [{name: a, on: [request, response], grpc: 'https://a.example'}]"), "who is asked by grpc can't be asked at response"},
		{v1("hooks: [{name: a, on: [request], grpc: 'https://a.example', protocol: ext_proc}]"), "protocol can't be"},
		{v1("hooks: [{name: a, on: [request], grpc: 'https://a.example', protocol: [penstock]}]"), "protocol"},
		{v1("hooks: [{name: a, on: [request], cel: b, protocol: penstock}]"), "protocol has no meaning for cel"},
		{v1("hooks: [{name: a, on: [response], grpc: 'https://a.example', protocol: envoy}]"), "who is asked by grpc can't be asked at response"},
		{v1("hooks: [{name: a, on: [request], grpc: 'https://a.example', addresses: []}]"), "addresses is empty"},
		{v1("hooks: [{name: a, on: [request], grpc: 'https://10.0.0.1', addresses: [10.0.0.0/8]}]"), "an address that is written is meant"},
		{v1("hooks: [{name: a, on: [request], grpc: 'http://127.0.0.1:1', client_cert: a, client_key: b}]"), "has a certificate for a URL in clear"},
		{v1("hooks: [{name: a, on: [request], grpc: 'https://a.example', client_cert: a}]"), "one of client_cert and client_key"},
		{v1("hooks: [{name: a, on: [request], exec: x}]"), "exec must be a list"},
		{v1("hooks: [{name: a, on: [request], exec: []}]"), "exec is not a program, by name or path"},
		{v1("hooks: [{name: a, on: [request], exec: ['']}]"), "exec is not a program"},
		{v1("hooks: [{name: a, on: [request], exec_once: [a/b]}]"), "exec_once is not a program"},
		{v1("hooks: [{name: a, on: [request], exec: [a, 1]}]"), "an entry of exec must be text"},
		{v1("hooks: [{name: a, on: [request], exec: [a], network: false}]"), "network: false says nothing"},
		{v1("hooks: [{name: a, on: [request], exec: [a], exec_once: [a]}]"), "both exec and exec_once"},
		{v1("hooks: [{name: a, on: [request], exec: [a], key: 'env:A'}]"), "key has no meaning for exec"},
		{v1("hooks: [{name: a, on: [request], cel: a, network: true}]"), "network has no meaning for cel"},
		{v1("hooks:\n- {name: a, on: [request], cel: 'a'}\n- {name: a, on: [request], cel: 'a'}"), "f:4:3: hook a is here twice, first at line 3"},
		{v1("? [a]\n: b"), "a key must be a word, not a list"},
	} {
		_, err := Parse("f", User, []byte(tt.text))
		if err == nil {
			t.Errorf("%q: no error; want %q", tt.text, tt.want)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q:\n got %v\nwant %v", tt.text, err, tt.want)
		}
		var list *ErrorList
		var one *Error
		if !errors.As(err, &list) || !errors.As(err, &one) || one.Line == 0 {
			t.Errorf("%q: error has no position: %v", tt.text, err)
		}
		if strings.Contains(err.Error(), "sk-live") {
			t.Errorf("%q: the error repeats what may be a credential", tt.text)
		}
	}
}

func TestParseReportsSeveralErrors(t *testing.T) {
	_, err := Parse("f", User, []byte("version: 1\nsandbox: {tier: x, pids: 0}\negress:\n  allow:\n    - {host: ''}\n    - {hosts: a}\n  denny: []\n"))
	var list *ErrorList
	if !errors.As(err, &list) || len(list.Errors) != 5 {
		t.Fatalf("got %v", err)
	}
	for i := 1; i < len(list.Errors); i++ {
		if list.Errors[i].Line < list.Errors[i-1].Line {
			t.Errorf("errors are not in the order of lines: %v", err)
		}
	}
}

func TestParseBounds(t *testing.T) {
	if _, err := Parse("f", User, make([]byte, MaxFileSize+1)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("too large a file: %v", err)
	}
	var b strings.Builder
	b.WriteString("version: 1\negress:\n  allow:\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "    - {hast: h%d.example}\n", i)
	}
	_, err := Parse("f", User, []byte(b.String()))
	if n := strings.Count(err.Error(), "\n"); n > maxErrors {
		t.Errorf("an error of %d lines", n)
	}
	bomb := "version: 1\na: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ","))
	}
	if _, err := Parse("f", User, []byte(bomb)); err == nil || !strings.Contains(err.Error(), "anchors are not allowed") {
		t.Errorf("alias bomb: %v", err)
	}
}

func TestParseErrorsAreSafeForTerminals(t *testing.T) {
	for _, text := range []string{
		"version: 1\n\"\\e[2J\": x\n",
		"version: 1\nsandbox: {tier: \"\\e]0;x\\a\"}\n",
		"version: 1\negress: {allow: [{host: \"\\u202e\\e[31m\"}]}\n",
		"version: 1\negress: {allow: [{host: a, paths: [\"\\e[2J\"]}]}\n",
		"version: 1\nfilesystem: {read: [\"~\\e[2J\"]}\n",
		"version: 1\nenvironment: {set: {\"\\e[2J\": a}}\n",
	} {
		_, err := Parse("f\x1b[2J", User, []byte(text))
		if err == nil {
			t.Errorf("%q: no error", text)
		} else if !isPrintableASCII(strings.ReplaceAll(err.Error(), "\n", "")) {
			t.Errorf("%q: %q", text, err)
		}
	}
}
