package netproxy

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/elazarl/goproxy"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/netproxy/tokens"
	"github.com/penstock/penstock/policy"
)

// Proxy serves the connections of one session's pen. Make one with New.
type Proxy struct {
	cfg    Config
	limits Limits

	rules   atomic.Pointer[generation]
	chain   *goproxy.ProxyHttpServer
	server  *http.Server
	sweeper *sweeper
	feed    *feed
	tls     *tls.Config
	// refusedPath is where the server meets requests that the filter refused; it
	// can't be guessed.
	refusedPath string

	flows atomic.Uint64
	conns atomic.Uint64 // numbers connections
	open  atomic.Int64
	// strangers are those that the proxy port has turned away.
	strangers atomic.Int64
	stats     stats
	ledger    *ledger
	held      atomic.Int64 // bytes of bodies that are held because they are judged
	kept      chain.Held   // of those that hooks are asked about
	checked   verified
	roster    *audit.Roster
	tokens    *tokens.Keeper // nil: no secret is somebody else's
	pacs      pacFiles

	ending context.Context // done when the proxy is closed
	end    context.CancelFunc

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	live      map[io.Closer]struct{}
	serving   sync.WaitGroup
}

// ErrClosed is returned by the Serve methods after Close.
var ErrClosed = errors.New("proxy is closed")

// New checks c and returns a Proxy that serves nothing yet.
func New(c Config) (*Proxy, error) {
	switch {
	case c.Policy == nil:
		return nil, errors.New("make proxy: no policy")
	case c.Record == nil:
		return nil, errors.New("make proxy: no audit")
	case c.Dialer == nil:
		return nil, errors.New("make proxy: no dialler")
	case c.Leaves == nil:
		return nil, errors.New("make proxy: no certificate authority")
	}

	var secret [16]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, fmt.Errorf("make proxy: %w", err)
	}
	p := &Proxy{
		cfg: c, limits: c.Limits.withDefaults(),
		refusedPath: "/" + hex.EncodeToString(secret[:]),
		feed:        newFeed(),
		ledger:      newLedger(),
		kept:        chain.Held{Max: c.Limits.withDefaults().BodyBytes},
		listeners:   make(map[net.Listener]struct{}),
		live:        make(map[io.Closer]struct{}),
	}
	p.ending, p.end = context.WithCancel(context.Background())
	p.pacs.programs = maps.Clone(c.PACs)
	p.roster = audit.NewRoster(c.Record, p.redact)
	p.sweeper = newSweeper(p)
	p.tls = p.serverTLS()
	p.chain = p.newChain()
	p.chain.OnRequest().DoFunc(p.judge)
	p.server = p.newServer()
	first := p.newGeneration(c.Policy)
	p.rules.Store(first)
	if first.broken != nil {
		p.Close()
		return nil, fmt.Errorf("make proxy: %w", first.broken)
	}
	p.tokens = tokens.New(tokens.Config{Set: c.Secrets, Declared: c.Policy.Secrets(), Ask: first.asksForTokens, Told: p.renewed})
	go p.server.Serve(p.feed) //nolint:errcheck // ends with Close
	return p, nil
}

// SetPolicy replaces the policy for all requests that are judged from now on. One
// with hooks that are not compiled denies everything.
func (p *Proxy) SetPolicy(pol *policy.Policy) {
	old := p.rules.Swap(p.newGeneration(pol))
	old.close()
}

// Chain is goproxy's handler chain. Handlers added to it before the first Serve
// call run after the target is bound and before the verdict (OnRequest), or on
// each response from an upstream (OnResponse). FlowOf tells what they see.
func (p *Proxy) Chain() *goproxy.ProxyHttpServer { return p.chain }

// newChain sets up goproxy so that nothing of it acts by itself: no dialler, no
// certificates, no environment, no log.
func (p *Proxy) newChain() *goproxy.ProxyHttpServer {
	g := goproxy.NewProxyHttpServer()
	g.Tr = &http.Transport{Proxy: nil} // never used: each context has our round trip
	g.ConnectDial = nil
	g.Verbose = false
	g.Logger = log.New(io.Discard, "", 0)
	g.KeepAcceptEncoding = true
	g.NonproxyHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "penstock: request without a target", http.StatusBadRequest)
	})
	return g
}

// Close ends all connections and listeners and waits for what served them.
func (p *Proxy) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	for l := range p.listeners {
		l.Close()
	}
	live := make([]io.Closer, 0, len(p.live))
	for c := range p.live {
		live = append(live, c)
	}
	p.mu.Unlock()
	p.end()
	p.feed.Close()
	// Before the server's: that waits, with its lock held, for a refused client to
	// read why, and a deadline of this wait may be taken back by its own goroutine.
	for _, c := range live {
		c.Close()
	}
	p.server.Close()
	p.serving.Wait()
	p.tokens.Close()
	p.sweeper.close()
	p.rules.Load().close()
	return nil
}

// track registers something to be closed with the proxy; false: closed already.
func (p *Proxy) track(c io.Closer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.live[c] = struct{}{}
	return true
}

func (p *Proxy) untrack(c io.Closer) {
	p.mu.Lock()
	delete(p.live, c)
	p.mu.Unlock()
}

// feed hands connections from the front to the HTTP server.
type feed struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newFeed() *feed { return &feed{conns: make(chan net.Conn), done: make(chan struct{})} }

func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

func (f *feed) push(c net.Conn) bool {
	select {
	case f.conns <- c:
		return true
	case <-f.done:
		return false
	}
}

// Close implements net.Listener.
func (f *feed) Close() error {
	f.once.Do(func() { close(f.done) })
	return nil
}

// Addr implements net.Listener.
func (f *feed) Addr() net.Addr { return &net.TCPAddr{} }
