//go:build linux || darwin

package proxyrole

import (
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// recorder is the audit as the flows see it: what is recorded as a violation is
// told to the supervisor too, which acts on it as the policy says.
type recorder struct {
	*audit.Writer
	violations chan proxyctl.Violation
}

func newRecorder(w *audit.Writer) *recorder {
	return &recorder{w, make(chan proxyctl.Violation, 1)}
}

// Note records e. It does not wait.
func (r *recorder) Note(e audit.Event) {
	r.Writer.Note(e)
	if v, ok := e.(*audit.Violation); ok {
		select {
		case r.violations <- proxyctl.Violation{Kind: v.Kind, Detail: v.Detail}:
		default: // one is on its way
		}
	}
}

// tellEvery is how often the supervisor hears of violations, at most: a tool can
// commit thousands in a second.
const tellEvery = 100 * time.Millisecond

// tellViolations passes violations on until the session ends.
func (e *engine) tellViolations(conn *proxyctl.Conn) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case v := <-e.recorder.violations:
			acted := ""
			if e.boss != nil {
				acted = e.boss.act(e, v.Kind)
			}
			if conn.Send(&proxyctl.Message{Op: proxyctl.OpViolation, Kind: clip(v.Kind), Text: clip(v.Detail), Acted: acted}) != nil {
				return
			}
		case <-e.over:
			return
		}
		t.Reset(tellEvery)
		select {
		case <-t.C:
		case <-e.over:
			return
		}
	}
}

// counts sums up the flows so far.
func (e *engine) counts() *proxyctl.Counts {
	st := e.proxy.Stats()
	return &proxyctl.Counts{Flows: st.Allowed + st.Denied, Denied: st.Denied, Violations: st.Violations}
}
