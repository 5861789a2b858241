package config

import (
	"slices"
	"strings"
	"testing"
)

func TestParsePublish(t *testing.T) {
	for _, c := range []struct{ in, listen, inner string }{
		{"8080", "127.0.0.1:8080", "8080"},
		{"8080:3000", "127.0.0.1:8080", "3000"},
		{"0:3000", "127.0.0.1:0", "3000"},
		{"0.0.0.0:8080:3000", "0.0.0.0:8080", "3000"},
		{"192.0.2.1:8080", "192.0.2.1:8080", "8080"},
		{"[::1]:8080:3000", "[::1]:8080", "3000"},
		{"[::1]:8080", "[::1]:8080", "8080"},
		{"[::ffff:127.0.0.1]:1:2", "127.0.0.1:1", "2"},
	} {
		p, err := ParsePublish(c.in)
		if err != nil || p.Listen.String() != c.listen {
			t.Errorf("ParsePublish(%q) = %v, %v; want %s", c.in, p, err, c.listen)
		}
	}
	for _, bad := range []string{"", "0", "x", "70000", "8080:0", "1:2:3:4", "localhost:80:80", "[::1]", "[::1%eth0]:1", "1.2.3.4", "-1", "80:80:", "::1:80"} {
		if p, err := ParsePublish(bad); err == nil {
			t.Errorf("ParsePublish(%q) = %v, want an error", bad, p)
		} else if h, ok := err.(interface{ Hint() string }); !ok || h.Hint() == "" {
			t.Errorf("ParsePublish(%q): no hint in %v", bad, err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	in := EnvInput{
		Host: []string{
			"PATH=/bin", "LC_ALL=C", "TERM=xterm", "ANTHROPIC_API_KEY=real", "AWS_SECRET_ACCESS_KEY=real", "SSH_AUTH_SOCK=/s",
			"MY_FLAG=1", "HTTP_PROXY=http://corp:1", "SSL_CERT_FILE=/host", "DBUS_SESSION_BUS_ADDRESS=unix:x", "LD_PRELOAD=/x.so", "BROKEN", "=x",
		},
		Pass:    func(name string) bool { return strings.HasPrefix(name, "MY_") },
		Set:     []string{"CI=1", "A=b=c", "TERM=dumb"},
		Trust:   []string{"SSL_CERT_FILE=/pen"},
		Proxy:   []string{"HTTP_PROXY=http://127.0.0.1:9"},
		Secrets: []string{"ANTHROPIC_API_KEY=placeholder"},
	}
	env, withheld := Environment(in)
	want := []string{"A=b=c", "ANTHROPIC_API_KEY=placeholder", "CI=1", "HTTP_PROXY=http://127.0.0.1:9", "LC_ALL=C", "MY_FLAG=1", "PATH=/bin", "PENSTOCK=1", "SSL_CERT_FILE=/pen", "TERM=dumb"}
	if !slices.Equal(env, want) {
		t.Errorf("env = %q\nwant  %q", env, want)
	}
	if strings.Contains(strings.Join(env, "\n"), "real") {
		t.Error("a real credential is in the environment")
	}
	if want := []string{"AWS_SECRET_ACCESS_KEY", "DBUS_SESSION_BUS_ADDRESS", "LD_PRELOAD", "SSH_AUTH_SOCK"}; !slices.Equal(withheld, want) {
		t.Errorf("withheld = %q, want %q", withheld, want)
	}
}

// A secret's placeholder stands whatever other source names the variable.
func TestSecretWinsOverPass(t *testing.T) {
	env, _ := Environment(EnvInput{
		Host:    []string{"KEY=real"},
		Pass:    func(string) bool { return true },
		Set:     []string{"KEY=set"},
		Secrets: []string{"KEY=placeholder"},
	})
	if !slices.Contains(env, "KEY=placeholder") || len(env) != 2 {
		t.Errorf("env = %q", env)
	}
}

func TestDefaultPaths(t *testing.T) {
	p := DefaultPaths(&Host{Home: "/home/u", Environ: []string{"XDG_STATE_HOME=/s", "XDG_CONFIG_HOME=relative"}})
	if p.State != "/s/penstock" || p.Config != "/home/u/.config/penstock" || p.Data != "/home/u/.local/share/penstock" {
		t.Errorf("paths = %+v", p)
	}
}
