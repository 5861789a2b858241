package doctor

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/supervisor/config"
)

const pacText = `// not by proxy servers, nor by http itself
function FindProxyForURL(url, host) {
	if (isPlainHostName(host)) return "DIRECT";
	if (dnsDomainIs(host, ".example.org")) return "PROXY proxy.corp.example:3128; HTTPS [2001:db8::1]:443";
	return 'SOCKS5 socks.corp.example:1080;proxy Proxy.corp.example:3128';
}
`

// a desktop is a home directory and what is examined there.
type desktop struct {
	t    *testing.T
	home string
	host *config.Host
}

func newDesktop(t *testing.T, environ ...string) *desktop {
	home := t.TempDir()
	// Settings in a file: no daemon is needed to write them.
	environ = append([]string{"HOME=" + home, "XDG_CONFIG_HOME=" + home + "/.config", "GSETTINGS_BACKEND=keyfile", "PATH=" + os.Getenv("PATH")}, environ...)
	return &desktop{t, home, &config.Host{Home: home, Environ: environ}}
}

// run executes a command of the desktop's.
func (d *desktop) run(argv ...string) {
	d.t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = d.host.Environ, d.home
	if out, err := cmd.CombinedOutput(); err != nil {
		d.t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

// findings are those about proxies, under the policy, which is below the home.
func (d *desktop) findings(policyText string, files map[string]string) []Finding {
	d.t.Helper()
	f, err := policy.Parse("p.yaml", policy.User, []byte("version: 1\n"+policyText+"\n"))
	if err != nil {
		d.t.Fatalf("%v\n%s", err, policyText)
	}
	p, err := policy.New([]*policy.File{f})
	if err != nil {
		d.t.Fatalf("%v\n%s", err, policyText)
	}
	x := &examination{ctx: d.t.Context(), Options: Options{Host: d.host}}
	x.proxies(p, systemFiles(d.t, files), filepath.Join(d.home, "new dir/policy.yaml"))
	for _, f := range x.findings {
		if strings.Contains(f.Detail+f.Fix, "hunter2") || strings.ContainsAny(f.Detail+f.Fix, "\n\x1b") {
			d.t.Errorf("it shows %+v", f)
		}
	}
	return x.findings
}

// only is the one finding there is.
func only(t *testing.T, found []Finding, state State, name, want string) Finding {
	t.Helper()
	if len(found) != 1 || found[0].State != state || found[0].Name != name || !strings.Contains(found[0].Detail+"\n"+found[0].Fix, want) {
		t.Fatalf("%+v\nwant %s %s: %s", found, state, name, want)
	}
	return found[0]
}

// offered is the policy that a finding offers.
func offered(t *testing.T, f Finding) string {
	t.Helper()
	_, line, ok := strings.Cut(f.Fix, "policy.yaml: ")
	if !ok {
		t.Fatalf("%+v offers nothing", f)
	}
	return line
}

// TestPACOfGNOME: the settings as GNOME's program writes them, and the whole way from
// there: the command that is said fetches the file, then its policy is offered, then all
// is well. The doctor fetches nothing by itself.
func TestPACOfGNOME(t *testing.T) {
	world.Tool(t, "gsettings")
	world.Tool(t, "curl")
	asked := 0
	origin := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked++
		rw.Write([]byte(pacText)) //nolint:errcheck // curl says what is missing
	}))
	defer origin.Close()
	d := newDesktop(t)
	only(t, d.findings("", nil), OK, "proxies", "nor a desktop names one")
	d.run("gsettings", "set", "org.gnome.system.proxy", "autoconfig-url", origin.URL+"/it's/proxy.pac?a=b&c")
	only(t, d.findings("", nil), OK, "proxies", "nor a desktop names one")
	d.run("gsettings", "set", "org.gnome.system.proxy", "mode", "auto")
	f := only(t, d.findings("", nil), Warn, "PAC file in GNOME's settings", "a policy names a file of this machine")
	_, curl, _ := strings.Cut(f.Fix, "fetch it: ")
	curl, _, ok := strings.Cut(curl, ", and run penstock doctor again")
	if !ok || asked != 0 {
		t.Fatalf("%+v, %d requests", f, asked)
	}
	d.run("sh", "-c", curl)
	if asked != 1 {
		t.Errorf("%d requests by %s", asked, curl)
	}
	f = only(t, d.findings("", nil), Warn, "PAC file in GNOME's settings", "no policy names it")
	line := offered(t, f)
	want := `among: [proxy1, proxy2, proxy3, direct]}, proxy1: {url: "http://proxy.corp.example:3128"}, proxy2: {url: "https://[2001:db8::1]:443"}, proxy3: {url: "socks5://socks.corp.example:1080"}}}`
	if !strings.Contains(line, want) {
		t.Errorf("%s\nwant %s", line, want)
	}
	found := d.findings(line, nil)
	if len(found) < 2 || found[0].State != OK || !strings.Contains(found[0].Detail, "the policy has it as") {
		t.Errorf("%+v", found)
	}
	if asked != 1 {
		t.Errorf("the doctor has fetched it: %d requests", asked)
	}
	d.run("gsettings", "set", "org.gnome.system.proxy", "autoconfig-url", "")
	only(t, d.findings("", nil), Warn, "PAC file in GNOME's settings", "WPAD")
	d.run("gsettings", "set", "org.gnome.system.proxy", "mode", "manual")
	only(t, d.findings("", nil), OK, "proxies", "nor a desktop names one")
	d.run("gsettings", "set", "org.gnome.system.proxy.https", "host", "proxy.corp.example")
	d.run("gsettings", "set", "org.gnome.system.proxy.https", "port", "3128")
	d.run("gsettings", "set", "org.gnome.system.proxy.http", "authentication-password", "hunter2")
	f = only(t, d.findings("", nil), Warn, "proxy in GNOME's settings", "http://proxy.corp.example:3128")
	d.findings(offered(t, f), nil)
}

// TestPACOfKDE: the settings as KDE's program writes them.
func TestPACOfKDE(t *testing.T) {
	world.Tool(t, "kwriteconfig5")
	d := newDesktop(t)
	set := func(key, value string) {
		d.run("kwriteconfig5", "--file", "kioslaverc", "--group", "Proxy Settings", "--key", key, value)
	}
	d.run("kwriteconfig5", "--file", "kioslaverc", "--group", "Other", "--key", "ProxyType", "2")
	only(t, d.findings("", nil), OK, "proxies", "nor a desktop names one")
	set("Proxy Config Script", "http://me:hunter2@wpad.corp.example/proxy.pac")
	set("ProxyType", "0")
	only(t, d.findings("", nil), OK, "proxies", "nor a desktop names one")
	set("ProxyType", "2")
	only(t, d.findings("", nil), Warn, "PAC file in KDE's settings", `curl -fsS --create-dirs --user USER:PASSWORD -o '`+d.home+`/new dir/proxy.pac' 'http://wpad.corp.example/proxy.pac', and run`)
	file := filepath.Join(d.home, "my proxy.pac")
	if err := os.WriteFile(file, []byte(pacText), 0o644); err != nil {
		t.Fatal(err)
	}
	set("Proxy Config Script", "file://"+file)
	f := only(t, d.findings("", nil), Warn, "PAC file in KDE's settings", "no policy names it")
	if found := d.findings(offered(t, f), nil); found[0].State != OK || !strings.Contains(found[0].Detail, "the policy has it as "+file) {
		t.Errorf("%+v", found)
	}
	set("ProxyType", "3")
	only(t, d.findings("", nil), Warn, "PAC file in KDE's settings", "WPAD")
	set("ProxyType", "1")
	set("httpsProxy", "http://proxy.corp.example 3128")
	f = only(t, d.findings("", nil), Warn, "proxy in KDE's settings", "http://proxy.corp.example:3128")
	d.findings(offered(t, f), nil)
}

func TestPACSettings(t *testing.T) {
	kde := func(lines string) map[string]string {
		return map[string]string{"etc/xdg/kioslaverc": "[Proxy Settings]\n" + lines}
	}
	for name, tt := range map[string]struct {
		environ []string
		files   map[string]string
		state   State
		finding string
		want    string
	}{
		"variable":           {[]string{"auto_proxy=http://wpad.example/p.pac"}, nil, Warn, "PAC file in auto_proxy", "'http://wpad.example/p.pac'"},
		"etc":                {nil, map[string]string{"etc/environment": "AUTO_PROXY=\"https://wpad.example/p.pac\"\n"}, Warn, "PAC file in /etc/environment", "'https://wpad.example/p.pac'"},
		"twice":              {[]string{"auto_proxy=http://wpad.example/p.pac"}, map[string]string{"etc/environment": "auto_proxy=http://wpad.example/p.pac\n"}, Warn, "PAC file in auto_proxy", "p.pac"},
		"system's KDE":       {nil, kde("ProxyType[$i]=2\nProxy Config Script=http://wpad.example/\n"), Warn, "PAC file in KDE's settings", "'http://wpad.example/'"},
		"KDE, socks":         {nil, kde("ProxyType=1\nsocksProxy=socks://s.example 1080\n"), Warn, "proxy in KDE's settings", `"socks5://s.example:1080"`},
		"KDE, environment":   {nil, kde("ProxyType=4\nhttpsProxy=HTTPS_PROXY\n"), OK, "proxies", "nor a desktop"},
		"for a shell":        {[]string{"auto_proxy=http://wpad.example/';reboot;'$(x)"}, nil, Warn, "PAC file in auto_proxy", `'http://wpad.example/'\'';reboot;'\''$(x)'`},
		"another scheme":     {[]string{"auto_proxy=ftp://me:hunter2@wpad.example/"}, nil, Warn, "PAC file in auto_proxy", "not the URL of a file"},
		"not a URL":          {[]string{"auto_proxy=hunter2"}, nil, Warn, "PAC file in auto_proxy", "not the URL of a file"},
		"line break":         {[]string{"auto_proxy=http://a/\n\x1b[2J"}, nil, Warn, "PAC file in auto_proxy", "not the URL of a file"},
		"no host":            {[]string{"auto_proxy=http:///p.pac"}, nil, Warn, "PAC file in auto_proxy", "not the URL of a file"},
		"a share":            {[]string{"auto_proxy=file://server/p.pac"}, nil, Warn, "PAC file in auto_proxy", "not the URL of a file"},
		"file, not there":    {[]string{"auto_proxy=file:///no/such%0afile"}, nil, Warn, "PAC file in auto_proxy", "no such file"},
		"file, not readable": {[]string{"auto_proxy=file:///dev"}, nil, Warn, "PAC file in auto_proxy", "is a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			f := only(t, newDesktop(t, tt.environ...).findings("", tt.files), tt.state, tt.finding, tt.want)
			if f.State != OK && f.Fix == "" {
				t.Error("no fix")
			}
		})
	}
}

func TestPACProposal(t *testing.T) {
	for _, tt := range []struct{ content, want string }{
		{`"PROXY a.example:1; PROXY b.example:2"`, `among: [proxy1, proxy2]}, proxy1: {url: "http://a.example:1"}, proxy2: {url: "http://b.example:2"}}}`},
		{`"DIRECT"`, ""}, {"", ""}, {`"PROXY " + host + ":1"`, ""}, {`// PROXY server`, ""}, {`"PROXY a.example:99999"`, ""}, {`"PROXY a:0; SOCKS4 b:1"`, ""},
		{strings.Repeat(`"PROXY a.example:1";`, 100), `among: [proxy1]}, proxy1:`},
	} {
		got, err := pacProposal("/a/b.pac", tt.content)
		if (err == nil) != (tt.want != "") || !strings.Contains(got, tt.want) {
			t.Errorf("%.60s: %s, %v; want %s", tt.content, got, err, tt.want)
		}
	}
	if got, err := pacProposal("/a\nb.pac", `"PROXY a:1"`); err == nil {
		t.Error(got)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add("org.gnome.system.proxy mode 'auto'\norg.gnome.system.proxy autoconfig-url \"http://a/\\\"\"\n")
	f.Add("[Proxy Settings][$i]\nProxyType[$e]=1\nhttpsProxy=http://a 1\nsocksProxy=a\n")
	f.Add(pacText)
	f.Fuzz(func(t *testing.T, in string) {
		var s settings
		s.gnome(in)
		s.kde(in)
		for _, p := range s.proxies {
			canonicalProxy(p.value) //nolint:errcheck // an error is an answer
		}
		if line, err := pacProposal("/a", in); err == nil {
			if _, err := policy.Parse("f", policy.User, []byte("version: 1\n"+line+"\n")); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	})
}
