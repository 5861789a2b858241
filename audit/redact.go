package audit

import (
	"bytes"

	"github.com/penstock/penstock/hooks"
)

// minSecret is the length in bytes from which a value is looked for: a shorter
// one would be found in everything.
const minSecret = 6

type redaction struct{ value, mark []byte }

// Redact makes the Writer replace value, wherever it stands in a record, by
// "[secret NAME]". It is a second fence: no event should hold a secret, but an
// error text of an upstream can echo one.
func (w *Writer) Redact(name, value string) {
	if len(value) < minSecret {
		return
	}
	// As they will stand in the line: escaped, without the quotes.
	var l line
	l.quoted(value, maxLine)
	r := redaction{value: l.buf[1 : len(l.buf)-1]}
	l.buf = nil
	l.quoted("[secret "+name+"]", maxName)
	r.mark = l.buf[1 : len(l.buf)-1]
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets = append(w.secrets, r)
}

// redact replaces secrets in buf[from:].
func (l *line) redact(from int, secrets []redaction) {
	for _, s := range secrets {
		if bytes.Contains(l.buf[from:], s.value) {
			body := bytes.ReplaceAll(l.buf[from:], s.value, s.mark)
			l.buf = append(l.buf[:from], body...)
		}
	}
}

// allowed reports whether the flow was let through.
func allowed(e *FlowOpen) bool { return e.Verdict == hooks.Allow || e.Mode == ModeAudit }

// The modes of a session.
const (
	ModeEnforce = "enforce"
	ModeAudit   = "audit"
)
