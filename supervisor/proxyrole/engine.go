//go:build linux || darwin

package proxyrole

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/audit/capture"
	"github.com/penstock/penstock/ebpf/events"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/cel"
	"github.com/penstock/penstock/hooks/exec"
	"github.com/penstock/penstock/hooks/wasm"
	"github.com/penstock/penstock/netproxy"
	"github.com/penstock/penstock/netproxy/ca"
	"github.com/penstock/penstock/netproxy/desk"
	"github.com/penstock/penstock/netproxy/dialguard"
	"github.com/penstock/penstock/netproxy/dns"
	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/sandbox/netns"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// engine is everything that the role runs.
type engine struct {
	cfg     *proxyctl.Config
	started time.Time
	writer  *audit.Writer
	capture *capture.Writer // nil if no rule asks for it
	// recorder is writer, for the proxy.
	recorder *recorder
	over     chan struct{} // closed with the flows
	proxy    *netproxy.Proxy
	names    *dns.Table
	secrets  *secrets.Set
	sockets  *net.UnixConn
	explicit *os.File // the only listener, where the session has no network of its own
	publish  []publisher
	notice   func(string)
	asker    *proxyctl.Asker // nil: the supervisor is not asked
	hooks    io.Closer       // nil: no hook is a process
	desk     *desk.Desk      // nil: no person is asked
	knows    atomic.Pointer[whoFunc]
	told     *events.Watcher // nil: the tier tells nothing

	mu      sync.Mutex
	closers []io.Closer
	answers sync.WaitGroup // of published ports, on their way out; see awaitAnswers
	closed  bool
	serving sync.WaitGroup

	modules   []*wasm.Hook
	run       *hooks.Run // what the hooks were asked about at the start; nil: nothing
	refused   bool       // they denied it
	boss      boss       // nil: the caller's own proxy
	finishing sync.Mutex
	finished  bool // the session's last record is written
}

// startHook starts a process of a hook; see exec.Start.
type startHook = func(ctx context.Context, hook string) (*exec.Process, error)

func newEngine(cfg *proxyctl.Config, files map[string]*os.File, conn *proxyctl.Conn) (*engine, error) {
	notice := func(line string) {
		conn.Send(&proxyctl.Message{Op: proxyctl.OpNotice, Text: clip(line)}) //nolint:errcheck // the supervisor may be gone
	}
	e := &engine{cfg: cfg, started: time.Now(), notice: notice}
	if cfg.Who {
		e.asker = proxyctl.NewAsker(conn)
		e.attribute(e.asker.Who)
	}
	var err error
	var processes startHook
	if f := files[proxyctl.FileHooks]; f != nil {
		if processes, e.hooks, err = hookProcesses(f); err != nil {
			return nil, err
		}
	}
	if e.sockets, err = proxyctl.Open(files[proxyctl.FileSockets]); err != nil {
		return nil, err
	}
	var login netproxy.Login
	if e.explicit = files[proxyctl.FileExplicit]; e.explicit != nil {
		if cfg.Login == nil || cfg.Login.Password == "" {
			return nil, errors.New("start the proxy: a port of the host's, and no login for it")
		}
		login = netproxy.Login(*cfg.Login)
	}
	if e.writer, err = audit.NewWriter(files[proxyctl.FileAudit], cfg.Session); err != nil {
		return nil, err
	}
	e.recorder, e.over = newRecorder(e.writer), make(chan struct{})
	e.writer.OnFailure(func(err error) {
		notice("the audit can't be written, so every request is denied: " + err.Error())
	})
	cert, err := io.ReadAll(io.LimitReader(files[proxyctl.FileCACert], maxCert))
	if err != nil {
		return nil, fmt.Errorf("read the authority's certificate: %w", err)
	}
	authority, err := ca.New(cert, files[proxyctl.FileCAKey])
	if err != nil {
		return nil, err
	}
	files[proxyctl.FileCACert].Close()
	files[proxyctl.FileCAKey].Close()
	if cfg.Secrets != nil {
		if e.secrets, err = cfg.Secrets.Set(); err != nil {
			return nil, err
		}
	}
	logins, err := cfg.Logins.Logins()
	if err != nil {
		return nil, err
	}
	if e.names, err = dns.NewTable(0); err != nil {
		return nil, err
	}
	// Conditions travel as text: a compiled one would be somebody else's word.
	if cfg.Policy, err = cfg.Policy.CompileConditions(cel.Language{}); err != nil {
		return nil, err
	}
	if e.desk, err = newDesk(cfg, conn, e.recorder.Append); err != nil {
		return nil, err
	}
	programs, err := pacPrograms(cfg)
	if err != nil {
		return nil, err
	}
	modules, err := e.hookModules()
	if err != nil {
		return nil, err
	}
	if f := files[proxyctl.FileCapture]; f != nil {
		e.capture = capture.NewWriter(f, capture.MaxFile)
	}
	e.proxy, err = netproxy.New(netproxy.Config{
		Session:     cfg.Session,
		Permissive:  cfg.Mode == "audit",
		Policy:      cfg.Policy,
		Record:      e.recorder,
		Login:       login,
		Names:       e.names,
		Dialer:      &dialguard.Guard{Hosts: cfg.Policy.Host},
		Leaves:      authority,
		Secrets:     e.secrets,
		Logins:      logins,
		ClientCerts: cfg.ClientCerts.ClientCerts(),
		PACs:        programs,
		HookKeys:    cfg.HookKeys,
		HookModules: modules,
		HookProcess: processes,
		Roots:       func() (*x509.CertPool, error) { return roots(cfg.Roots) },
		OriginalDst: netns.OriginalDst,
		Who:         e.who,
		Told:        e.teller(files),
		Desk:        e.desk,
		Still:       e.still,
		Capture:     e.capture,
		Notice:      notice,
	})
	if err != nil {
		return nil, err
	}
	if f := files[proxyctl.FileTold]; f != nil {
		if err := e.hear(f, cfg.Tier); err != nil {
			return nil, err
		}
	}
	for _, p := range cfg.Publish {
		pub, err := newPublisher(p, files[p.Name])
		if err != nil {
			return nil, err
		}
		e.publish = append(e.publish, pub)
	}
	return e, nil
}

// roots are the system's certificates and those of the policy, which the
// supervisor has read.
func roots(more [][]byte) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's root certificates: %w", err)
	}
	for i, pem := range more {
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read root certificates: no certificate in file %d of the policy's ca", i+1)
		}
	}
	return pool, nil
}

// listen takes the pen's sockets from the supervisor and serves them.
func (e *engine) listen() error {
	if e.boss != nil {
		if err := e.boss.awaitAdmission(); err != nil {
			return err
		}
		if err := e.admitted(); err != nil {
			return err
		}
	}
	if e.explicit != nil {
		return e.listenExplicit()
	}
	s, err := netns.ReceiveSockets(e.sockets)
	if err != nil {
		return err
	}
	e.sockets.Close()
	captured, err := s.CaptureListeners()
	if err != nil {
		return err
	}
	explicit, err := s.ExplicitListeners()
	if err != nil {
		return err
	}
	dnsTCP, err := s.DNSListeners()
	if err != nil {
		return err
	}
	dnsUDP, err := s.DNSPacketConns()
	if err != nil {
		return err
	}
	drops, err := s.DropReader()
	if err != nil {
		return err
	}
	told := &names{note: e.writer.Note, notice: e.notice}
	server := dns.NewServer(dns.Config{Table: e.names, NoIPv6: !s.IPv6(), Judge: e.proxy.JudgeName, Record: told.record})
	for _, l := range captured {
		e.serve(l, func() error { return e.proxy.ServeCaptured(l) })
	}
	for _, l := range explicit {
		e.serve(l, func() error { return e.proxy.ServeExplicit(l) })
	}
	for _, l := range dnsTCP {
		e.serve(l, func() error { return server.ServeTCP(l) })
	}
	for _, c := range dnsUDP {
		e.serve(c, func() error { return server.ServeUDP(c) })
	}
	e.serve(drops, func() error { return e.readDrops(drops) })
	if len(e.publish) > 0 {
		pen, err := s.Dialer()
		if err != nil {
			return err
		}
		for i := range e.publish {
			p := &e.publish[i]
			e.serve(p.listener, func() error { return p.serve(pen, e) })
		}
	}
	return nil
}

// track remembers connections to be closed at the end; false: it is over.
func (e *engine) track(conns ...io.Closer) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.closers = append(e.closers, conns...)
	return true
}

func (e *engine) untrack(conns ...io.Closer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closers = slices.DeleteFunc(e.closers, func(c io.Closer) bool { return slices.Contains(conns, c) })
}

// serve runs f until c is closed. An early end of any server is said: from then
// on the pen's requests of that kind are refused.
func (e *engine) serve(c io.Closer, f func() error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		c.Close()
		return
	}
	e.closers = append(e.closers, c)
	e.serving.Go(func() {
		err := f()
		e.mu.Lock()
		closed := e.closed
		e.mu.Unlock()
		if !closed && err != nil && !errors.Is(err, net.ErrClosed) {
			e.notice("a part of the proxy ended: " + err.Error())
		}
	})
}

// closeFlows ends everything that serves the pen and waits for it.
func (e *engine) closeFlows() {
	e.mu.Lock()
	if !e.closed {
		close(e.over)
	}
	e.closed = true
	closers := e.closers
	e.closers = nil
	e.mu.Unlock()
	e.awaitAnswers()
	for _, c := range closers {
		c.Close()
	}
	e.proxy.Close()
	e.serving.Wait()
	if e.capture != nil {
		if err := e.capture.Close(); err != nil && e.capture.Lost() > 0 {
			e.writer.Note(&audit.Limit{Kind: "capture", Count: e.capture.Lost(), Detail: err.Error(), Action: "counted"})
		}
	}
}

func (e *engine) close() {
	e.closeFlows()
	if e.told != nil {
		e.told.Close()
	}
	for _, m := range e.modules {
		m.Close()
	}
	if e.hooks != nil {
		e.hooks.Close()
	}
	e.writer.Close()
}
