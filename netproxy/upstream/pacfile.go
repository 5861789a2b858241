package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/penstock/penstock/netproxy/dialguard"
	"github.com/penstock/penstock/netproxy/pac"
)

// pacTimeout is for a PAC file, from the lookup of its host's name to its last byte.
const pacTimeout = 10 * time.Second

// PACError says that an upstream's PAC file could not be got from its URL.
type PACError struct {
	Upstream, At, URL string // At is where the policy has it
	Err               error
}

// Error returns one line.
func (e *PACError) Error() string {
	return fmt.Sprintf("use the PAC file of upstream %s (%s): pac: %s: %v", e.Upstream, e.At, e.URL, e.Err)
}

// Unwrap returns the cause.
func (e *PACError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *PACError) Hint() string {
	var guard *dialguard.RefusedError
	if errors.As(e.Err, &guard) && guard.Addr.IsValid() {
		return "addresses: [\"" + guard.Addr.String() + "\"] in egress.upstreams." + e.Upstream + " would allow it"
	}
	return "look at the URL with curl, or keep the file on this machine and name its path: pac: PATH"
}

// PACFile gets the PAC file of an upstream from its URL and reads it. Only the URL's
// host is dialled, by the guard's c.Dial and with the addresses that the upstream has
// for it; never by a proxy, which would have to be chosen by the file. Nothing is
// followed and nothing is sent that could be a credential.
func PACFile(ctx context.Context, c Config) (program *pac.Program, text []byte, err error) {
	u := c.Proxy
	defer func() {
		if err != nil {
			program, text, err = nil, nil, &PACError{u.Name, u.From.Ref(), u.PAC, err}
		}
	}()
	source := u.PACSource()
	if source == nil {
		return nil, nil, errors.New("it has no URL")
	}
	ctx, cancel := context.WithTimeout(ctx, pacTimeout)
	defer cancel()
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.Roots != nil {
		if settings.RootCAs, err = c.Roots(); err != nil {
			return nil, nil, err
		}
	}
	t := &http.Transport{
		Proxy: nil, // never the environment's
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return c.Dial(ctx, source.Target, source.Dial)
		},
		TLSClientConfig:        settings,
		DisableKeepAlives:      true,
		DisableCompression:     true, // the bound is one of what is read
		MaxResponseHeaderBytes: 64 << 10,
	}
	defer t.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.PAC, nil)
	if err != nil {
		return nil, nil, err
	}
	r.Header.Set("User-Agent", "penstock")
	r.Header.Set("Accept", "application/x-ns-proxy-autoconfig, */*")
	resp, err := t.RoundTrip(r) // which follows no redirect
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("there was no answer within %s", pacTimeout)
		}
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		more := ""
		if resp.StatusCode >= 300 && resp.StatusCode < 400 {
			more = ", and redirects are not followed"
		}
		return nil, nil, fmt.Errorf("the answer has status %d%s", resp.StatusCode, more)
	}
	text, err = io.ReadAll(io.LimitReader(resp.Body, pac.MaxFile+1))
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("it did not end within %s", pacTimeout)
		}
		return nil, nil, err
	}
	program, err = pac.Parse(text) // which bounds it
	if err == nil {
		err = program.Check()
	}
	return program, text, err
}
