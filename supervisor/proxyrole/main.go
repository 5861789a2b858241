//go:build linux || darwin

package proxyrole

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/internal/donate"
	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// maxCert bounds the authority's certificate, in bytes.
const maxCert = 64 << 10

// Main is the role's main; it returns the exit code.
func Main() int {
	// A session's heap is small and its garbage short-lived: a larger step costs
	// a few MB and saves half of the collector's work (docs/performance.md).
	debug.SetGCPercent(400)
	if err := serve(); err != nil {
		fmt.Fprintf(os.Stderr, "penstock: %v\n", err)
		var h interface{ Hint() string }
		if errors.As(err, &h) {
			fmt.Fprintf(os.Stderr, "hint: %s\n", h.Hint())
		}
		return 1
	}
	return 0
}

func serve() error {
	var cfg proxyctl.Config
	files, err := donate.Receive(&cfg)
	if err != nil {
		return err
	}
	if started, err := serveBoss(files); started {
		return err
	}
	for _, name := range []string{proxyctl.FileControl, proxyctl.FileSockets, proxyctl.FileAudit, proxyctl.FileCACert, proxyctl.FileCAKey} {
		if files[name] == nil {
			return fmt.Errorf("start the proxy: no descriptor %q", name)
		}
	}
	control, err := proxyctl.Open(files[proxyctl.FileControl])
	if err != nil {
		return err
	}
	conn := proxyctl.NewConn(control)
	// Before anything that came from a pen can be read.
	if err := confineSelf(); err != nil {
		return err
	}
	e, err := newEngine(&cfg, files, conn)
	if err != nil {
		return err
	}
	defer e.close()
	if err := e.proxy.GetPACs(context.Background()); err != nil {
		return err
	}
	return e.converse(conn)
}

// converse obeys the supervisor until the session ends. When the supervisor is
// gone without a word the role ends too, and with it every flow.
func (e *engine) converse(conn *proxyctl.Conn) error {
	go e.tellViolations(conn)
	for {
		m, err := conn.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var reply *proxyctl.Message
		switch m.Op {
		case proxyctl.OpProcess:
			if e.asker == nil {
				return errors.New("supervisor answered what it was not asked")
			}
			e.asker.Answer(m)
			continue
		case proxyctl.OpAnswer:
			if e.desk == nil || m.Answer == nil {
				return errors.New("supervisor answered what it was not asked")
			}
			if err := e.desk.Answer(m.Answer); err != nil {
				e.notice(err.Error())
			}
			continue
		case proxyctl.OpListen:
			reply = answer(proxyctl.OpListening, e.listen())
		case proxyctl.OpRecord:
			reply = e.recorded(m)
		case proxyctl.OpRenew:
			reply = answer(proxyctl.OpRenewed, e.renew(m.Renewal))
		case proxyctl.OpCount:
			reply = &proxyctl.Message{Op: proxyctl.OpCounted, Counts: e.counts()}
		case proxyctl.OpEnd:
			reply = answer(proxyctl.OpEnded, nil)
			reply.Summary, err = e.end(m)
			if err != nil {
				reply = answer(proxyctl.OpEnded, err)
			}
		default:
			return fmt.Errorf("supervisor sent %s", m.Op)
		}
		if err := conn.Send(reply); err != nil {
			return err
		}
		if m.Op == proxyctl.OpEnd {
			return nil
		}
	}
}

func answer(op proxyctl.Op, err error) *proxyctl.Message {
	m := &proxyctl.Message{Op: op}
	if err != nil {
		m.Error = clip(err.Error())
	}
	return m
}

// clip bounds a line for the control socket.
func clip(s string) string {
	const most = 2 << 10
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// recorded appends one event of the supervisor's and says how that went.
func (e *engine) recorded(m *proxyctl.Message) *proxyctl.Message {
	denied := hooks.Decision{Action: hooks.Next}
	reply := answer(proxyctl.OpRecorded, e.record(m, &denied))
	if reply.Error == "" && denied.Action != hooks.Next {
		reply.Denied, reply.Rule = clip(denied.Reason), denied.Rule
		if reply.Denied == "" {
			reply.Denied = "a hook denies it"
		}
	}
	return reply
}

// record appends one event of the supervisor's. Of a session's start, and of that of a
// further command, it also says what the hooks decided.
func (e *engine) record(m *proxyctl.Message, decided *hooks.Decision) error {
	var ev audit.Event
	switch m.Kind {
	case audit.TypeSessionStart:
		ev = &audit.SessionStart{}
	case audit.TypeProcess:
		ev = &audit.Process{}
	case audit.TypeViolation:
		ev = &audit.Violation{}
	case audit.TypeLimit:
		ev = &audit.Limit{}
	case audit.TypeControl:
		ev = &audit.Control{}
	case audit.TypeExec:
		ev = &audit.Exec{}
	case audit.TypePublish:
		ev = &audit.Publish{}
	case audit.TypeRenewal:
		ev = &audit.SecretRenewal{}
	default:
		return fmt.Errorf("record event: unknown kind %.40q", m.Kind)
	}
	if err := json.Unmarshal(m.Event, ev); err != nil {
		return fmt.Errorf("record event: %w", err)
	}
	if start, ok := ev.(*audit.SessionStart); ok {
		if e.boss != nil {
			if err := e.boss.awaitAdmission(); err != nil {
				return fmt.Errorf("record session start: %w", err)
			}
			e.boss.attest(start)
		}
		*decided = e.starts(start)
	}
	if further, ok := ev.(*audit.Exec); ok && further.Action == "start" {
		*decided = e.further(further)
	}
	if err := e.writer.Append(ev); err != nil {
		return err
	}
	if m.Kind == audit.TypeSessionStart {
		e.proxy.KeepPACs()
	}
	return nil
}

// renew is the supervisor's OpRenew.
func (e *engine) renew(r *secrets.Renewal) error {
	if r == nil {
		return errors.New("renew a secret: none is named")
	}
	if err := e.secrets.Replace(r.Name, r.Value); err != nil {
		return err
	}
	ev := &audit.SecretRenewal{Name: r.Name, Action: "renewed"}
	if r.Value.Empty() {
		ev.Action = "expired"
	}
	return e.writer.Append(ev)
}

// end is the supervisor's OpEnd.
func (e *engine) end(m *proxyctl.Message) (*proxyctl.Summary, error) {
	var ev audit.SessionEnd
	if err := json.Unmarshal(m.Event, &ev); err != nil {
		return nil, fmt.Errorf("record session end: %w", err)
	}
	return e.finish(&ev)
}

// finish closes every flow, writes the session's last record and sums up. It is
// done once, whoever asks for it.
func (e *engine) finish(ev *audit.SessionEnd) (*proxyctl.Summary, error) {
	e.finishing.Lock()
	defer e.finishing.Unlock()
	if e.finished {
		return nil, errors.New("record session end: the session has ended")
	}
	if ev.Duration == 0 {
		ev.Duration = time.Since(e.started)
	}
	e.ends(ev)
	e.closeFlows()
	if w := e.watcher(); w != nil {
		w.Close() // tells what is left in the ring
	}
	if e.told != nil {
		e.told.Close() // tells what is left of it
	}
	ev.Counts = e.writer.Counts()
	if w := e.watcher(); w != nil {
		n := w.Ends()
		ev.Counts.Executions, ev.Counts.Exits, ev.Counts.Signals = n.Execs, n.Exits, n.Signals
	}
	if err := e.writer.Append(ev); err != nil {
		return nil, err
	}
	e.finished = true
	if e.boss != nil {
		e.boss.closed(e)
	}
	return e.summary(), nil
}
