//go:build linux || darwin

package supervisor

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"

	"github.com/penstock/penstock/supervisor/proxyctl"
)

// explicit is how a command's requests come to the proxy where it has no network of
// its own: by a listener of the host's, at loopback, which its proxy variables name.
// Every process of the machine can connect to that; who shows the login, random for
// each session, is served.
type explicit struct {
	listener *os.File
	port     int
	login    proxyctl.Login
}

// open opens the listener and makes the login up.
func (x *explicit) open() error {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return fmt.Errorf("open the session's proxy port: %w", err)
	}
	defer l.Close()
	if x.listener, err = l.File(); err != nil {
		return fmt.Errorf("open the session's proxy port: %w", err)
	}
	x.port = l.Addr().(*net.TCPAddr).Port
	x.login = proxyctl.Login{User: "penstock", Password: rand.Text()}
	return nil
}

// variables point at the port. Nothing is left out of them: what is at localhost is
// the host's, here.
func (x *explicit) variables() []string {
	at := fmt.Sprintf("%s:%s@127.0.0.1:%d", x.login.User, x.login.Password, x.port)
	return append(proxyEnv("http://"+at, "socks5h://"+at, ""), "NODE_USE_ENV_PROXY=1")
}

// proxyEnv are the variables that programs know, in both spellings.
func proxyEnv(http, all, but string) []string {
	return []string{
		"HTTP_PROXY=" + http, "http_proxy=" + http, "HTTPS_PROXY=" + http, "https_proxy=" + http,
		"ALL_PROXY=" + all, "all_proxy=" + all, "NO_PROXY=" + but, "no_proxy=" + but,
	}
}

func (s *session) listen(ctx context.Context) error {
	if err := s.proxy.client.Listen(ctx); err != nil {
		return s.proxyFailed(err)
	}
	return nil
}
