package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// ntlmLogin lets in who knows the password, by the judgement of Samba, which takes
// no NTLM of version 1 and verifies the MIC.
func ntlmLogin(t *testing.T, password string) squidLogin {
	t.Helper()
	helper := world.Tool(t, "ntlm_auth")
	return squidLogin{conf: func(write func(file, text string) string) string {
		conf := write("smb.conf", "")
		dir := filepath.Dir(conf)
		write("smb.conf", fmt.Sprintf("[global]\nworkgroup = CORP\nntlm auth = ntlmv2-only\nlock directory = %s\nstate directory = %[1]s\ncache directory = %[1]s\npid directory = %[1]s\nprivate dir = %[1]s\n", dir))
		return "auth_param ntlm program " + helper + " --helper-protocol=squid-2.5-ntlmssp --configfile=" + conf + " --domain=CORP --username=agent --password=" + password +
			"\nauth_param ntlm children 4\n"
	}}
}

// TestUpstreamNTLM: a squid that asks Samba who it is.
func TestUpstreamNTLM(t *testing.T) {
	for _, kind := range []string{"http", "https"} {
		t.Run(kind, func(t *testing.T) {
			s := newUpstreamScene(t)
			proxy := squid(t, s.w, "proxy."+kind+"-ntlm.example", kind, ntlmLogin(t, s.password), s.known()...)
			url := kind + "://" + proxy.Name + ":3128"
			entry := fmt.Sprintf(`{url: %q, auth: ntlm, user: 'CORP\agent', from: "env:PROXY_LOGIN"}`, url)
			p := s.pen(t, entry)
			s.everything(t, p, proxy)
			log := proxy.asked(t)
			for _, want := range []string{"CONNECT web.corp.example:443 CORP\\\\agent ", "GET http://clear.corp.example/plain?a=b CORP\\\\agent ", "POST http://clear.corp.example/up CORP\\\\agent ", "CONNECT banner.corp.example:2525 CORP\\\\agent "} {
				if !strings.Contains(log, want) {
					t.Errorf("squid was not asked for %q:\n%s", want, log)
				}
			}
			// Many at once: each connection has a login of its own.
			r := p.Sh("for i in 1 2 3 4 5 6 7 8; do curl -sS -o /dev/null -w '%{http_code} ' http://clear.corp.example/ http://clear.corp.example/ https://web.corp.example/ & done; wait")
			if strings.Count(r.Stdout, "200 ") != 24 {
				t.Errorf("%s", r)
			}
			// A refusal of the proxy after the login, and a wrong password, which is not tried twice.
			world.WantOutput(t, p.Sh("curl -sS http://forbidden.corp.example/"), 0, "refused for forbidden.corp.example:80: it answered 403 (Forbidden), ERR_ACCESS_DENIED")
			p.Opts.Env = append(p.Opts.Env, "PROXY_LOGIN=wrong-"+s.password)
			before := strings.Count(proxy.asked(t), "TCP_DENIED/407")
			r = p.Sh("curl -sS https://web.corp.example/ http://clear.corp.example/ https://web.corp.example/ http://clear.corp.example/")
			world.WantOutput(t, r, 0, "login by NTLM (the proxy did not accept the credentials: look at what from: in egress.upstreams.corp names)",
				"it did not accept the credentials, and is not given them again for a minute")
			if n := strings.Count(proxy.asked(t), "TCP_DENIED/407") - before; n != 2 {
				t.Errorf("squid was asked %d times with a wrong password", n)
			}
			p.wantNoPassword(s.password, r)
		})
	}
}

// TestUpstreamNTLMv1: squid's own helper asks for NTLM of version 1, and gets none.
func TestUpstreamNTLMv1(t *testing.T) {
	const helper = "/usr/lib/squid/ntlm_fake_auth"
	s := newUpstreamScene(t)
	world.Tool(t, "squid")
	if _, err := os.Stat(helper); err != nil {
		t.Fatal(err) // of squid's own package
	}
	proxy := squid(t, s.w, "proxy.old.example", "http", squidLogin{conf: func(func(file, text string) string) string {
		return "auth_param ntlm program " + helper + "\n"
	}}, s.known()...)
	p := s.pen(t, fmt.Sprintf(`{url: "http://%s:3128", auth: ntlm, user: 'CORP\agent', from: "env:PROXY_LOGIN"}`, proxy.Name))
	r := p.Sh("curl -sS https://web.corp.example/ http://clear.corp.example/ -w '%{http_code}'")
	world.WantOutput(t, r, 0, "it does NTLM of version 1, which is not given (who runs the proxy has to turn on NTLMv2: version 1 gives the password away)", "502")
	if log := proxy.asked(t); strings.Contains(log, "TCP_TUNNEL") || strings.Contains(log, "agent ") {
		t.Errorf("squid let somebody in:\n%s", log)
	}
}
