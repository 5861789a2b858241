package policy

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/penstock/penstock/hooks"
)

var update = flag.Bool("update", false, "write the golden files anew")

const full = `version: 1
sandbox: {tier: bwrap, tiers: [gvisor, bwrap], worktree: true, memory: 4GiB, cpus: 1.5, pids: 512, timeout: 2h, idle: 30m, on_violation: freeze, open_files: 4096, read_rate: 100MiB, write_rate: 50MiB}
filesystem:
  write: ["/srv/work", "/srv/with space"]
  read: ["/opt/tool"]
  hide: ["/srv/work/secret"]
  protect: ["/srv/work/deploy"]
environment: {pass: [LANG, "LC_*"], set: {CI: "1", GREETING: "a: \"b\"\n"}, proxy_variables: false}
egress:
  default: ask
  ask_timeout: 90s
  via: corp
  upstreams:
    corp: {url: "http://proxy.corp.example:3128", user: me, from: "env:PROXY_PASSWORD", addresses: [10.0.0.0/8], except: ["*.lab.example", 10.30.0.0/16]}
    krb: {url: "https://krb.corp.example:3129", auth: negotiate, from: "env:KRB5CCNAME", kdc: [kdc.corp.example, "kdc2.corp.example:8888"]}
    mtls: {url: "https://m.corp.example:3129", client_cert: /etc/m.pem, client_key: /etc/m.key}
    auto: {pac: /etc/corp.pac, among: [corp, krb, direct], my_address: 10.1.2.3}
    got: {pac: "https://wpad.corp.example/proxy.pac", refresh: 10m, among: [corp], addresses: [10.0.0.0/8]}
    nt: {url: "http://nt.corp.example:3128", auth: ntlm, user: 'CORP\me', from: "env:PROXY_PASSWORD"}
    ring: {url: "http://ring.corp.example:3128", user: me, from: "keyring:service=proxy"}
    run: {url: "http://run.corp.example:3128", from: {command: [pass, show, proxy]}}
    socks: {urls: ["socks5://192.0.2.1:1080", "socks5h://[2001:db8::9]:1080"], from: "file:/run/login"}
  allow:
    - host: api.example.com
      methods: [GET, HEAD]
      paths: ["/v1/**", "/a%20b/*"]
    - {host: "*.github.com", via: socks}
    - {host: bücher.example, inspect: false}
    - {host: db.example, ports: [5432, "6000-6010"], protocol: [tcp]}
    - {cidr: 10.20.0.0/16, ports: [443]}
    - {cidr: "2001:db8::/32", protocol: http}
    - {host: api.example.com, ports: [8443], pin: {secret: API_KEY, header: authorization, pass_headers: [x-a], pass_query: ["b c"]}}
    - {host: b.example, budget: {requests: 5, bytes_out: 10MiB, bytes_in: 1GiB, per: hour, rate: 100/m}}
    - {host: "123.example", addresses: [10.0.0.0/8, "fd00::/8"]}
  ask:
    - {host: "*.ask.example", methods: [POST], paths: ["/x/**"], addresses: [10.0.0.0/8]}
    - {cidr: 10.40.0.0/16, ports: [5432], protocol: tcp}
  deny:
    - host: gist.github.com
    - {host: "*", ports: [25]}
  hosts: {git.corp.example: 10.1.2.3, six.example: "2001:db8::5"}
  ca: [/etc/ssl/corp.pem]
  approvers: {desk: "ed25519:rG0KZEoxIZdPIgBf/CXESPZ0/zWncS99y0PnYsozrBo="}
secrets:
  - {name: API_KEY, from: "env:HOST_KEY", hosts: [api.example.com, "*.api.example.com"], header: authorization, prefix: "Bearer "}
  - {name: OTHER, from: "file:/run/secret", hosts: [x.example], header: X-Key}
  - {name: RUN, from: {command: [pass, show, "a b: \"c\""], every: 10m, expires: 1h}, hosts: [y.example], basic: {user: "a, b"}}
  - {name: CRED, from: "credential:c.d", hosts: [y.example], query: "a[b]"}
  - {name: ITEM, from: "keyring:service=a b,account=x=y", hosts: [k.example], header: x-item}
  - {name: AGAIN, from: {keyring: "service=c", every: 10m, expires: 1h}, hosts: [k.example], header: x-again}
  - {name: LABEL, from: "keyring:Clé de l'API", hosts: [k.example], header: x-label}
  - {name: FIELD, from: "env:F", hosts: [y.example], json: a.b}
  - {name: MESSAGE, from: "env:F", hosts: [y.example], websocket: {json: "a.b c"}}
  - {name: TOKEN, from: {oauth2: {token_url: "https://login.example/t", client_id: "a b", client_secret: "env:S", refresh_token: "file:/r", scopes: [a, b], audience: x, client_auth: body}}, hosts: [t.example], bearer: true}
  - {name: VAULT, from: {vault: {url: "https://vault.example:8200", path: secret/data/app, field: key, kv: 1, token: {command: [cat, t], every: 1h}, namespace: team}}, hosts: [v.example], bearer: true}
  - {name: AWS, hosts: ["*.amazonaws.com"], aws: {access_key: "env:A", secret_key: "env:S", session_token: "file:/t", services: [s3, sts], regions: [eu-central-1, us-east-1]}}
  - {name: SHORT, from: "env:S", hosts: [z.example], bearer: true}
limits:
  tier: bwrap
  memory: 8GiB
`

func TestShow(t *testing.T) {
	for _, defaults := range []bool{false, true} {
		for name, p := range map[string]*Policy{
			"full": mustPolicy(t, full), "empty": mustPolicy(t, "version: 1\n"),
			"flags": mustPolicy(t, "version: 1\n", Inline{"--allow", "api.example.com:8443"}, Inline{"--mode", "audit"}, Inline{"--env", "A=b"}),
		} {
			if defaults {
				name += "-effective"
			}
			var b bytes.Buffer
			if err := p.Show(&b, defaults); err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", "show-"+name+".yaml"), b.Bytes())
			f, err := Parse("shown", User, b.Bytes())
			if err != nil {
				t.Fatalf("%s does not parse: %v\n%s", name, err, b.Bytes())
			}
			q, err := New([]*File{f})
			if err != nil {
				t.Fatal(err)
			}
			if more, less := Diff(p, q); name[:4] == "full" && len(more)+len(less) > 0 {
				t.Errorf("%s: shown policy says more %v, less %v", name, more, less)
			}
			for _, s := range []string{"https://api.example.com/v1/x", "https://gist.github.com/", "https://x.github.com/", "https://nowhere.example:8443/", "https://api.example.com:8443/", "tcp://db.example:6005", "tls://xn--bcher-kva.example"} {
				if a, b := p.Decide(req(t, s)), q.Decide(req(t, s)); a.Action != b.Action {
					t.Errorf("%s: %s is %v, but %v as shown", name, s, a.Action, b.Action)
				}
			}
		}
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it anew):\n%s", path, got)
	}
}

func TestFullRoundTrip(t *testing.T) {
	p := mustPolicy(t, full)
	q := roundTrip(t, p)
	if more, less := Diff(p, q); len(more)+len(less) > 0 {
		t.Errorf("round trip: more %v, less %v", more, less)
	}
	if !q.Filesystem().Write[0].From.Layer.isUser() || q.Default() != hooks.Ask || q.Environment().Proxy.V {
		t.Error("settings are lost in a round trip")
	}
}

func (l Layer) isUser() bool { return l == User }
