package none

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/e2e/invariants/host"
)

// unnamed is a command of the caller's where nobody can make a user namespace.
func unnamed(c *host.Caller, flags []string, argv ...string) *exec.Cmd {
	forbid := []string{"/usr/bin/unshare", "--user", "--map-root-user", "/bin/sh", "-c", `echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"`, "sh"}
	return c.Command(append(forbid, c.RunArgs(flags, argv...)...)...)
}

// TestExplicit: where there can be no namespace, who obeys the proxy variables has the
// verdicts and records of every session; who does not has the network, which is
// shouted and recorded.
func TestExplicit(t *testing.T) {
	forUsers(t, func(t *testing.T, c *host.Caller) {
		hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Proxy-Authorization") != "" {
				t.Error("the login went out")
			}
			w.Write([]byte("hello\n"))
		})
		c.World.HTTPS("good.example", hello)
		plain := c.World.HTTP("plain.example", hello)
		c.Rules = []string{"{host: good.example}"}
		script := "curl -sS https://good.example/; curl -sS -o /dev/null -w '%{http_code}\n' https://bad.example/; curl -sS -o /dev/null -w '%{http_code}\n' http://localhost/; " +
			"curl -sS -x $ALL_PROXY https://good.example/; curl -sS --noproxy '*' http://" + plain.Addr.String() + "/; exit 5"
		r := c.StartCommand(unnamed(c, flags(), "/bin/sh", "-c", script)).Result()
		if r.Code != 5 || r.Stdout != "hello\n403\n403\nhello\nhello\n" {
			t.Fatalf("%s", r)
		}
		for _, said := range []string{"every process of yours. IT HAS THE HOST'S NETWORK: only programs\n", "WARNING: ONLY WHAT OBEYS THE PROXY VARIABLES IS CAPTURED: ", "user namespaces are switched off"} {
			if !strings.Contains(r.Stderr, said) {
				t.Errorf("it does not say %q: %s", said, r)
			}
		}
		records := c.Records("")
		start, _ := json.Marshal(host.Types(records, "session_start"))
		if !strings.Contains(string(start), `"by":"proxy variables"`) || !strings.Contains(string(start), "ONLY WHAT OBEYS THE PROXY VARIABLES") || !strings.Contains(string(start), `"tier":"none"`) {
			t.Errorf("%s", start)
		}
		if f := host.Flows(records, "good.example"); len(f) != 2 || f[0].Text("verdict") != "allow" {
			t.Errorf("%v", f)
		}
		if f := host.Flows(records, "bad.example"); len(f) != 1 || f[0].Text("verdict") != "deny" {
			t.Errorf("%v", f)
		}
		if f := host.Flows(records, "plain.example"); len(f) != 0 {
			t.Errorf("%v", f)
		}
		if r := c.Other("audit", "verify"); r.Code != 0 {
			t.Errorf("audit verify: %s", r)
		}
	})
}

// TestExplicitStranger: the port is the machine's, the session is its own: who has not
// its login is turned away, unrecorded, and the port ends with the proxy.
func TestExplicitStranger(t *testing.T) {
	forUsers(t, func(t *testing.T, c *host.Caller) {
		c.World.HTTP("good.example", http.NotFoundHandler())
		c.Rules = []string{"{host: good.example}"}
		s := c.StartCommand(unnamed(c, flags(), "/bin/sh", "-c", "echo $http_proxy; echo told; read x"))
		s.Expect("told\n")
		proxy, err := url.Parse(strings.SplitN(s.Out.String(), "\n", 2)[0])
		if err != nil || proxy.User == nil {
			t.Fatalf("%v %s", err, s.Out)
		}
		ask := func(login *url.Userinfo) (int, error) {
			u := *proxy
			u.User = login
			client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(&u), DisableKeepAlives: true}, Timeout: host.Patience}
			resp, err := client.Get("http://good.example/")
			if err != nil {
				return 0, err
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			return resp.StatusCode, nil
		}
		for _, login := range []*url.Userinfo{nil, url.User("penstock"), url.UserPassword("penstock", "x")} {
			if code, err := ask(login); code != http.StatusProxyAuthRequired {
				t.Errorf("%v: %d, %v", login, code, err)
			}
		}
		if code, err := ask(proxy.User); code != http.StatusNotFound { // the control
			t.Errorf("%d, %v", code, err)
		}
		syscall.Kill(s.Role(host.Proxy), syscall.SIGKILL)
		if r := s.Result(); r.Code != 125 || strings.Count(r.Stderr, "was turned away by its proxy") != 1 {
			t.Errorf("%s", r)
		}
		if conn, err := net.DialTimeout("tcp", proxy.Host, time.Second); err == nil {
			conn.Close()
			t.Error("the port is still there")
		}
		if f := host.Flows(c.Records(""), ""); len(f) != 1 {
			t.Errorf("%v", f)
		}
	})
}

// TestExplicitNothingLeft: what descends from the command ends with the session there,
// too.
func TestExplicitNothingLeft(t *testing.T) {
	forUsers(t, func(t *testing.T, c *host.Caller) {
		before := host.Settled(t, c.Home.Path)
		for _, tt := range []struct {
			how  string
			code int
			end  func(s *host.Session)
		}{
			{"", 0, func(*host.Session) {}},
			{"wait", 143, func(s *host.Session) { syscall.Kill(s.PID(), syscall.SIGTERM) }},
			{"wait", 137, func(s *host.Session) { syscall.Kill(s.PID(), syscall.SIGKILL) }},
			{"wait", 125, func(s *host.Session) { syscall.Kill(s.Role(host.Proxy), syscall.SIGKILL) }},
		} {
			s := c.StartCommand(unnamed(c, flags("--quiet"), host.ToolCommand("leave", tt.how)...))
			s.Expect("left\n")
			tt.end(s)
			if r := s.Result(); r.Code != tt.code {
				t.Errorf("%s, %d: %s", tt.how, tt.code, r)
			}
			host.Clean(t, before, c.Home.Path)
		}
	})
}

// TestExplicitRefused: what takes a network of the command's own is an error.
func TestExplicitRefused(t *testing.T) {
	forUsers(t, func(t *testing.T, c *host.Caller) {
		for _, tt := range []struct {
			more  string
			flags []string
			want  string
		}{
			{"", flags("--publish", "0:3000"), "--publish: a port of its own takes a network of the command's own"},
			{"sandbox: {idle: 1m}", flags(), "policy.yaml:2: an end to idleness, which its traffic tells of, takes a network"},
			{"", nil, "user namespaces are switched off"}, // no tier falls back to this
		} {
			c.More = tt.more
			r := c.StartCommand(unnamed(c, tt.flags, "/bin/echo", "ran")).Result()
			if r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, tt.want) {
				t.Errorf("%s", r)
			}
		}
	})
}
