package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// TestHookRoutes: curl and raw TCP leave by one of two squids, with its login, as
// hooks say, in a pen of an ordinary user, of root and under the privileged
// supervisor; and never by a way that the policy has not.
func TestHookRoutes(t *testing.T) {
	if world.Bare() {
		t.Skip("no hooks without a pen")
	}
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			s := newUpstreamScene(t)
			one := squid(t, s.w, "one.route.example", "http", squidLogin{}, s.known()...)
			two := squid(t, s.w, "two.route.example", "http", basicLogin(t, "corp", s.password), s.known()...)
			direct := s.w.HTTPS("direct.example.net", world.Text("direct"))
			p := &pen{&world.Pen{T: t, W: s.w, Opts: o, Home: s.w.NewHome(o), Env: map[string]string{}}}
			p.Opts.Env = append(p.Opts.Env, "PROXY_LOGIN="+s.password)
			p.Allow = []string{`{host: "*.corp.example"}`, `{host: direct.example.net}`, `{host: banner.corp.example, ports: [2525], protocol: tcp}`, `{host: sent.example.net, via: one}`}
			p.Egress = fmt.Sprintf("  upstreams:\n    one: {url: %q}\n    two: {url: %q, user: corp, from: \"env:PROXY_LOGIN\"}\n", "http://one.route.example:3128", "http://two.route.example:3128")
			p.Hooks = []string{
				`{name: by-path, on: [request], cel: 'request.path == "/one" ? "route: one" : request.path == "/two" ? "route: two" : request.path == "/off" ? "route: direct" : "next"'}`,
				`{name: raw, on: [connect], hosts: [banner.corp.example], cel: '"route: two"'}`,
				`{name: torn, on: [request], cel: '"x-other" in request.headers ? "route: one" : "next"'}`,
			}
			r := p.Sh(`curl -sS https://web.corp.example/one https://web.corp.example/two http://clear.corp.example/two https://direct.example.net/
curl -sS https://sent.example.net/off; curl -sS -H 'x-other: 1' https://web.corp.example/two
exec 3<>/dev/tcp/banner.corp.example/2525 && read -r -u 3 line && echo "$line"`)
			world.WantOutput(t, r, 0, "HTTP/2.0 web.corp.example /one", "HTTP/2.0 web.corp.example /two", "clear.corp.example /two", "direct", "220 hello",
				"hook by-path routes via direct, which can't be: the policy sends it via one, and not directly", "hook by-path routes via two, and hook torn via one")
			if first := one.asked(t); !strings.Contains(first, "CONNECT web.corp.example:443") || strings.Contains(first, "clear.corp") || strings.Contains(first, "banner") {
				t.Errorf("one was asked\n%s", first)
			}
			if second := two.asked(t); !strings.Contains(second, "CONNECT web.corp.example:443 corp") || !strings.Contains(second, "GET http://clear.corp.example/two") || !strings.Contains(second, "CONNECT banner.corp.example:2525 corp") {
				t.Errorf("two was asked\n%s", second)
			}
			if strings.Contains(one.asked(t)+two.asked(t), "example.net") || !s.w.Reached(direct) {
				t.Errorf("by the wrong way\n%s", one.asked(t)+two.asked(t))
			}
			out := p.W.Run(p.Home, p.Opts, world.Penstock(t), "audit", "export", "--all")
			for want, n := range map[string]int{`"via":"one","routed":"by-path"`: 1, `"via":"two","routed":"by-path"`: 2, `"via":"two","routed":"raw"`: 1, `"routed":`: 4,
				`{"hook":"by-path","decision":"route","reason":"one",`: 1} {
				if got := strings.Count(out.Stdout, want); got != n {
					t.Errorf("recorded %d times, not %d: %s\n%s", got, n, want, out)
				}
			}
			p.wantNoPassword(s.password, r)
		})
	}
}
