//go:build linux || darwin

package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/penstock/penstock/internal/donate"
	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// ProxyRole is os.Args[1] of the proxy role's process.
const ProxyRole = "role:proxy"

// proxyProcess is the running proxy role. The privileged supervisor's has a
// client only: its process and the way of the sockets to it are the daemon's.
type proxyProcess struct {
	client  *proxyctl.Client
	sockets *net.UnixConn // carries the pen's sockets, once
	cmd     *exec.Cmd
	process *donate.Process
	stderr  *head
}

// startProxy starts the role by cmd, see proxyCommand.
func startProxy(cmd *exec.Cmd, cfg *proxyctl.Config, files map[string]*os.File, notice func(string)) (*proxyProcess, error) {
	control, theirs, err := proxyctl.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	sockets, theirSockets, err := proxyctl.Pair()
	if err != nil {
		control.Close()
		return nil, err
	}
	defer theirSockets.Close()
	fail := func(err error) (*proxyProcess, error) {
		control.Close()
		sockets.Close()
		return nil, err
	}
	files[proxyctl.FileControl], files[proxyctl.FileSockets] = theirs, theirSockets
	extra, err := donate.Files(cfg, files)
	if err != nil {
		return fail(err)
	}
	defer extra[0].Close()
	p := &proxyProcess{sockets: sockets, stderr: &head{}, cmd: cmd}
	// Nothing of the caller's environment: no proxy variable, no GODEBUG, no key.
	p.cmd.Env = []string{"PATH=/nonexistent"}
	p.cmd.Dir = "/"
	p.cmd.ExtraFiles = extra
	p.cmd.Stderr = p.stderr
	// In a process group of its own, so that a Ctrl-C at the terminal ends the
	// command and not the record of it.
	if p.cmd.SysProcAttr == nil {
		p.cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	p.cmd.SysProcAttr.Setpgid = true
	if p.process, err = donate.Start(p.cmd, nil); err != nil {
		return fail(fmt.Errorf("start the proxy: %w", err))
	}
	p.client = proxyctl.NewClient(proxyctl.NewConn(control), notice)
	return p, nil
}

// maxRoots bounds one file of further roots, in bytes.
const maxRoots = 4 << 20

// readRoots reads the policy's certificates as the caller, whose files they are.
func readRoots(files []string) ([][]byte, error) {
	var out [][]byte
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read root certificates: %w", err)
		}
		pem, err := io.ReadAll(io.LimitReader(f, maxRoots+1))
		f.Close()
		switch {
		case err != nil:
			return nil, fmt.Errorf("read root certificates: %w", err)
		case len(pem) > maxRoots:
			return nil, fmt.Errorf("read root certificates: %s has more than %d bytes", name, maxRoots)
		case !bytes.Contains(pem, []byte("-----BEGIN CERTIFICATE-----")):
			return nil, fmt.Errorf("read root certificates: no certificate in %s", name)
		}
		out = append(out, pem)
	}
	return out, nil
}

// done is closed when the role has ended.
func (p *proxyProcess) done() <-chan struct{} {
	if p.process == nil {
		return p.client.Done()
	}
	return p.process.Done()
}

// running says whether the role has not ended yet.
func (p *proxyProcess) running() bool {
	select {
	case <-p.done():
		return false
	default:
		return true
	}
}

// broke says whether the role, a child of this process, was killed or failed.
func (p *proxyProcess) broke() bool {
	return p.process != nil && !p.running() && p.process.Wait() != nil
}

// kill ends the role, if it has not ended by itself.
func (p *proxyProcess) kill() {
	p.client.Close()
	if p.process != nil {
		p.sockets.Close()
		p.cmd.Process.Kill()
	}
}

// stop is kill, and waits for the end.
func (p *proxyProcess) stop() {
	p.kill()
	<-p.done()
}

// why says how the role ended, with the end of what it had printed.
func (p *proxyProcess) why() error {
	if p.process == nil {
		return errors.New("the supervisor's proxy ended")
	}
	said, hint := strings.TrimSpace(p.stderr.String()), ""
	if i := strings.IndexByte(said, '\n'); i > 0 && !strings.HasPrefix(said, "panic") {
		hint = strings.TrimPrefix(strings.TrimSpace(said[i:]), "hint: ")
		said = said[:i]
	}
	if said == "" {
		err := p.process.Wait()
		if err == nil {
			return errors.New("the proxy ended")
		}
		return fmt.Errorf("the proxy ended: %w", err)
	}
	return &proxyError{text.Escape(strings.TrimPrefix(said, "penstock: ")), text.Escape(hint)}
}

// proxyError is what the proxy said at its end.
type proxyError struct{ said, hint string }

func (e *proxyError) Error() string { return "the proxy ended: " + e.said }
func (e *proxyError) Hint() string  { return e.hint }

// head keeps the first part of what is written to it; a role that floods its
// stderr costs no memory.
type head struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const headSize = 8 << 10

var _ io.Writer = (*head)(nil)

func (t *head) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := headSize - t.buf.Len(); room > 0 {
		t.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (t *head) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}

// proxyFailed prefers what the proxy said at its end to what was seen of it.
func (s *session) proxyFailed(err error) error {
	select {
	case <-s.proxy.done():
		return s.proxy.why()
	case <-time.After(100 * time.Millisecond):
		return err
	}
}

// startProxy starts the proxy role with what it needs to know, and the files of that.
func (s *session) startProxy(ctx context.Context) error {
	files := map[string]*os.File{proxyctl.FileCAKey: s.ca.Key}
	cert, err := donate.Fixed(s.ca.Certificate)
	if err != nil {
		return err
	}
	defer cert.Close()
	files[proxyctl.FileCACert] = cert
	cfg := &proxyctl.Config{Session: s.id, Mode: string(s.cfg.Mode), Policy: s.cfg.Policy, Secrets: s.secrets.Donate(), Logins: s.logins.Donate(), ClientCerts: s.certs.Donate(), Approvals: s.cfg.Approvals}
	if cfg.PACs, err = s.pacs(); err != nil {
		return err
	}
	if cfg.HookKeys, err = s.hookKeys(); err != nil {
		return err
	}
	if cfg.HookModules, err = s.hookModules(); err != nil {
		return err
	}
	if x := s.explicit; x != nil {
		files[proxyctl.FileExplicit], cfg.Login = x.listener, &x.login
	}
	if cfg.Roots, err = readRoots(cfg.Policy.CAFiles()); err != nil {
		return err
	}
	if err := s.runProxy(ctx, cfg, files); err != nil {
		return err
	}
	s.ca.Close()
	return nil
}

// ownProxy starts the role as a process of the caller's.
func (s *session) ownProxy(cfg *proxyctl.Config, files map[string]*os.File) error {
	files[proxyctl.FileAudit] = s.audit.File
	if len(cfg.Policy.Captures()) > 0 {
		f, err := s.audit.CreateCapture()
		if err != nil {
			return err
		}
		defer f.Close()
		files[proxyctl.FileCapture] = f
	}
	cmd, err := s.proxyCommand()
	if err != nil {
		return err
	}
	s.proxy, err = startProxy(cmd, cfg, files, s.notice)
	return err
}

// notice shows a line of the proxy's at once: something that needs the user.
func (s *session) notice(line string) {
	if !s.cfg.Quiet {
		s.say.line("%s", escape(line))
	}
}
