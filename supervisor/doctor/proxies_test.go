package doctor

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/supervisor/config"
)

// systemFiles makes a root directory with files.
func systemFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func proxyFindings(t *testing.T, policyText string, files map[string]string, environ ...string) []Finding {
	t.Helper()
	f, err := policy.Parse("p.yaml", policy.User, []byte("version: 1\n"+policyText))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.New([]*policy.File{f})
	if err != nil {
		t.Fatal(err)
	}
	x := &examination{ctx: t.Context(), Options: Options{Host: &config.Host{Environ: environ}}}
	x.proxies(p, systemFiles(t, files), "policy.yaml")
	for _, f := range x.findings {
		if f.State != OK && f.Fix == "" {
			t.Errorf("%s has no fix", f.Name)
		}
		if strings.Contains(f.Detail+f.Fix, "hunter2") {
			t.Errorf("a password is shown: %+v", f)
		}
	}
	return x.findings
}

// A password in a keyring is looked for, and one that a command gives is not.
func TestProxyValues(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no keyring")
	}
	for from, want := range map[string]string{
		"'keyring:a=b'": "use upstream corp (p.yaml:2): there is no session bus", "{command: [penstock-no-such-command]}": "connection refused",
	} {
		found := proxyFindings(t, "egress: {upstreams: {corp: {url: 'http://corp.example:1', user: u, from: "+from+"}}, hosts: {corp.example: 127.0.0.1}}\n", nil)
		if len(found) != 1 || !strings.Contains(found[0].Detail, want) {
			t.Errorf("%s: %+v", from, found)
		}
	}
}

// A PAC file that a policy has by its URL is got, by the guard.
func TestPACSource(t *testing.T) {
	found := proxyFindings(t, "egress: {upstreams: {auto: {pac: 'https://wpad.example/p.pac', among: [direct]}}, hosts: {wpad.example: 127.0.0.1}}\n", nil, "auto_proxy=https://WPAD.example/p.pac")
	if len(found) != 2 || found[0].State != OK || !strings.Contains(found[0].Detail, "the policy has it as https://wpad.example:443/p.pac") ||
		found[1].State != Fail || !strings.Contains(found[1].Detail, "use the PAC file of upstream auto (p.yaml:2): pac: https://wpad.example:443/p.pac: ") {
		t.Errorf("%+v", found)
	}
}

func TestProxiesAreOffered(t *testing.T) {
	for name, tt := range map[string]struct {
		environ []string
		files   map[string]string
		state   State
		finding string
		want    string
	}{
		"none":          {nil, nil, OK, "proxies", "names one"},
		"https":         {[]string{"HTTPS_PROXY=http://proxy.corp.example:3128/"}, nil, Warn, "proxy in HTTPS_PROXY", `in policy.yaml: egress: {via: proxy, upstreams: {proxy: {url: "http://proxy.corp.example:3128"}}}`},
		"without more":  {[]string{"http_proxy=proxy.corp.example"}, nil, Warn, "proxy in http_proxy", `{url: "http://proxy.corp.example:80"}`},
		"login":         {[]string{"https_proxy=http://me:hunter2@proxy.corp.example:3128"}, nil, Warn, "proxy in https_proxy", `{url: "http://proxy.corp.example:3128", from: "env:PROXY_LOGIN"}}}, with the user:password of that URL in PROXY_LOGIN`},
		"socks":         {[]string{"ALL_PROXY=socks5h://[2001:db8::1]"}, nil, Warn, "proxy in ALL_PROXY", `{url: "socks5://[2001:db8::1]:1080"}`},
		"exceptions":    {[]string{"https_proxy=http://p.example:1", "no_proxy=localhost,127.0.0.1,::1, .corp.example,lab.example:8080,10.0.0.0/8,192.0.2.7,*.a.example,bad name!"}, nil, Warn, "proxy in https_proxy", `except: ["corp.example", "*.corp.example", "lab.example", "*.lab.example", "10.0.0.0/8", "192.0.2.7", "*.a.example", "bad", "*.bad"]`},
		"rubbish":       {[]string{"https_proxy=http://me:hunter2@:x"}, nil, Warn, "proxy in https_proxy", "not the URL of a proxy"},
		"another kind":  {[]string{"https_proxy=socks4://hunter2:1"}, nil, Warn, "proxy in https_proxy", "HTTP, HTTPS or SOCKS5"},
		"line break":    {[]string{"https_proxy=http://a.example:1\n\x1b[2J"}, nil, Warn, "proxy in https_proxy", "not the URL"},
		"environment":   {nil, map[string]string{"etc/environment": "PATH=/bin\nexport https_proxy=\"http://p.example:1\"\nno_proxy='.x.example'\n"}, Warn, "proxy in /etc/environment", `except: ["x.example", "*.x.example"]`},
		"apt":           {nil, map[string]string{"etc/apt/apt.conf.d/90proxy": "// x\nAcquire::http::Proxy \"http://p.example:1\";\n"}, Warn, "proxy in /etc/apt/apt.conf.d/90proxy", "http://p.example:1"},
		"apt, directly": {nil, map[string]string{"etc/apt/apt.conf": "Acquire::http::Proxy \"DIRECT\";\n"}, OK, "proxies", "names one"},
	} {
		t.Run(name, func(t *testing.T) {
			found := proxyFindings(t, "", tt.files, tt.environ...)
			if len(found) != 1 || found[0].Name != tt.finding || found[0].State != tt.state || !strings.Contains(found[0].Detail+" "+found[0].Fix, tt.want) {
				t.Fatalf("%+v\nwant %s %s", found, tt.finding, tt.want)
			}
			// What is offered is a policy.
			if _, line, ok := strings.Cut(found[0].Fix, "policy.yaml: "); ok {
				line, _, _ = strings.Cut(line, ", with the")
				if _, err := policy.Parse("offered", policy.User, []byte("version: 1\n"+line+"\n")); err != nil {
					t.Errorf("%v\n%s", err, line)
				}
			}
		})
	}
}

func TestUpstreamsAreTried(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	url := "http://" + l.Addr().String()
	egress := func(rest string) string {
		return "egress: {upstreams: {corp: {url: \"" + url + "\"" + rest + "}}}\n"
	}
	found := proxyFindings(t, egress(""), nil, "https_proxy="+url)
	if len(found) != 2 || found[0].State != OK || !strings.Contains(found[0].Detail, "the policy names, too") || found[1].State != OK || !strings.Contains(found[1].Detail, "can be reached at 127.0.0.1") {
		t.Errorf("%+v", found)
	}
	if found = proxyFindings(t, egress(`, from: "env:LOGIN"`), nil); len(found) != 1 || found[0].State != Fail || !strings.Contains(found[0].Detail, "variable LOGIN is empty") {
		t.Errorf("no login: %+v", found)
	}
	if found = proxyFindings(t, egress(`, from: "env:LOGIN"`), nil, "LOGIN=a:hunter2"); len(found) != 1 || found[0].State != OK {
		t.Errorf("login: %+v", found)
	}
	l.Close()
	if found = proxyFindings(t, egress(""), nil); len(found) != 1 || found[0].State != Warn || !strings.Contains(found[0].Detail, "connection refused") {
		t.Errorf("down: %+v", found)
	}
}
