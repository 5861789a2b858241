package audit

import (
	"github.com/penstock/penstock/hooks"
)

// typeName returns the "type" of e, or "" for an event that is not ours or nil
// (which must not panic while the Writer is locked). Like encode it is a type
// switch and not a method, because a method call through the interface would
// move every event of every caller to the heap.
func typeName(e Event) string {
	name, ok := "", false
	switch e := e.(type) {
	case *FlowOpen:
		name, ok = TypeFlowOpen, e != nil
	case *FlowClose:
		name, ok = TypeFlowClose, e != nil
	case *DNS:
		name, ok = TypeDNS, e != nil
	case *SecretUse:
		name, ok = TypeSecretUse, e != nil
	case *SecretRenewal:
		name, ok = TypeRenewal, e != nil
	case *PACFile:
		name, ok = TypePACFile, e != nil
	case *SessionStart:
		name, ok = TypeSessionStart, e != nil
	case *SessionEnd:
		name, ok = TypeSessionEnd, e != nil
	case *Process:
		name, ok = TypeProcess, e != nil
	case *Access:
		name, ok = TypeAccess, e != nil
	case *Drop:
		name, ok = TypeDrop, e != nil
	case *Violation:
		name, ok = TypeViolation, e != nil
	case *Limit:
		name, ok = TypeLimit, e != nil
	case *Control:
		name, ok = TypeControl, e != nil
	case *Exec:
		name, ok = TypeExec, e != nil
	case *Publish:
		name, ok = TypePublish, e != nil
	case *Ask:
		name, ok = TypeAsk, e != nil
	case *Loss:
		name, ok = TypeLoss, e != nil
	}
	if !ok {
		return ""
	}
	return name
}

// encode appends the members of e that are its type's own.
func (l *line) encode(e Event) {
	switch e := e.(type) {
	case *FlowOpen:
		l.flowOpen(e)
	case *FlowClose:
		l.flowClose(e)
	case *DNS:
		l.dns(e)
	case *SecretUse:
		l.count("flow", e.Flow)
		l.str("name", e.Name, maxName)
		l.str("host", e.Host, maxName)
		l.str("header", e.Header, maxName)
	case *SecretRenewal:
		l.str("name", e.Name, maxName)
		l.str("action", e.Action, maxName)
		l.str("reason", e.Reason, maxText)
	case *PACFile:
		l.str("upstream", e.Upstream, maxName)
		l.str("action", e.Action, maxName)
		l.str("sha256", e.SHA256, maxName)
		l.str("reason", e.Reason, maxText)
	case *SessionStart:
		l.sessionStart(e)
	case *SessionEnd:
		l.sessionEnd(e)
	case *Process:
		l.process(e)
	case *Access:
		l.access(e)
	case *Drop:
		l.str("protocol", e.Protocol, maxName)
		l.addrPort("destination", e.Destination)
		l.uint("count", e.Count)
		l.optInt("pid", e.PID)
	case *Violation:
		l.str("kind", e.Kind, maxName)
		l.str("detail", e.Detail, maxText)
		l.count("flow", e.Flow)
		l.target(e.Target)
		l.count("process", e.Process)
		l.optInt("pid", e.PID)
		l.str("action", e.Action, maxName)
	case *Limit:
		l.str("kind", e.Kind, maxName)
		l.count("count", e.Count)
		l.str("detail", e.Detail, maxText)
		l.str("action", e.Action, maxName)
	case *Control:
		l.str("action", e.Action, maxName)
		l.str("reason", e.Reason, maxText)
	case *Exec:
		l.exec(e)
	case *Publish:
		l.str("action", e.Action, maxName)
		l.addrPort("listen", e.Listen)
		l.count("port", uint64(e.Port))
		l.addrPort("peer", e.Peer)
	case *Ask:
		l.str("action", e.Action, maxName)
		l.count("question", e.Question)
		l.count("flow", e.Flow)
		l.str("protocol", e.Protocol.String(), maxName)
		l.target(e.Target)
		l.str("method", e.Method, maxName)
		l.str("path", e.Path, maxPath)
		l.str("rule", e.Rule, maxText)
		l.str("hook", e.Hook, maxName)
		l.str("reason", e.Reason, maxText)
		l.str("approval", e.Approval, maxText)
		l.str("scope", e.Scope, maxName)
		if e.For > 0 {
			l.duration("for_us", e.For)
		}
		l.str("by", e.By, maxName)
		l.count("waiting", e.Waiting)
		l.count("count", e.Count)
	case *Loss:
		l.loss(e)
	}
}

func (l *line) flowOpen(e *FlowOpen) {
	l.uint("flow", e.Flow)
	l.count("conn", e.Conn)
	l.str("protocol", e.Protocol.String(), maxName)
	l.str("version", e.Version, maxName)
	l.target(e.Target)
	l.str("method", e.Method, maxName)
	l.str("path", e.Path, maxPath)
	l.queryKeys(e.Query)
	l.str("verdict", e.Verdict.String(), maxName)
	l.str("rule", e.Rule, maxText)
	l.str("reason", e.Reason, maxText)
	l.str("mode", e.Mode, maxName)
	l.str("via", e.Via, maxName)
	l.str("routed", e.Routed, maxName)
	l.addrPort("original", e.Original)
	l.addrPort("client", e.Client)
	l.addrPort("upstream", e.Upstream)
	l.count("process", e.Process)
	l.optInt("pid", e.PID)
	l.optInt("tid", e.TID)
	l.str("exe", e.Exe, maxText)
	l.str("said_by", e.SaidBy, maxName)
	l.hooks(e.Hooks)
}

// maxHooks bounds the hooks of one record.
const maxHooks = 64

// hooks writes what each hook said.
func (l *line) hooks(list []hooks.Trace) {
	if len(list) == 0 {
		return
	}
	l.key("hooks")
	l.buf = append(l.buf, '[')
	room := maxItems
	for i, h := range list {
		if i == maxHooks {
			l.cut = true
			break
		}
		if i > 0 {
			l.buf = append(l.buf, ',')
		}
		l.buf = append(l.buf, `{"hook":`...)
		l.quoted(h.Hook, maxName)
		if h.Point != hooks.PointRequest {
			l.str("point", h.Point.String(), maxName)
		}
		l.str("decision", h.Decision, maxName)
		l.str("reason", h.Reason, maxText)
		l.duration("duration_us", h.Duration)
		l.count("times", h.Times)
		if f := h.Fields; f != nil {
			l.fields("set", f.Set, &room)
			l.fields("removed", f.Removed, &room)
		}
		if b := h.Body; b != nil {
			l.key("body")
			l.buf = append(l.buf, `{"sha256":`...)
			l.quoted(b.SHA256, maxName)
			l.uint("before", uint64(b.Before))
			l.uint("after", uint64(b.After))
			l.buf = append(l.buf, '}')
		}
		l.buf = append(l.buf, '}')
	}
	l.buf = append(l.buf, ']')
}

// fields adds the names of header fields, of which there is room for some.
func (l *line) fields(k string, names []string, room *int) {
	if len(names) == 0 {
		return
	}
	l.key(k)
	l.buf = append(l.buf, '[')
	for i, name := range names {
		if *room--; *room < 0 {
			l.cut = true
			break
		}
		if i > 0 {
			l.buf = append(l.buf, ',')
		}
		l.quoted(name, hooks.MaxChangedName)
	}
	l.buf = append(l.buf, ']')
}

func (l *line) flowClose(e *FlowClose) {
	l.uint("flow", e.Flow)
	l.uint("bytes_up", e.BytesUp)
	l.uint("bytes_down", e.BytesDown)
	l.duration("duration_us", e.Duration)
	l.optInt("status", e.Status)
	l.addrPort("upstream", e.Upstream)
	l.str("class", e.Class, maxName)
	l.str("error", e.Error, maxText)
	l.hooks(e.Hooks)
}

func (l *line) dns(e *DNS) {
	l.str("name", e.Name, maxName)
	l.str("qtype", e.QType, maxName)
	l.str("rcode", e.RCode, maxName)
	l.addr("answer", e.Answer)
	l.str("transport", e.Transport, maxName)
	l.addrPort("server", e.Server)
	l.str("reason", e.Reason, maxText)
	l.hooks(e.Hooks)
}

func (l *line) target(t hooks.Target) {
	if t.Host != "" {
		l.str("host", t.Host, maxName)
	} else {
		l.addr("address", t.Addr)
	}
	l.count("port", uint64(t.Port))
}

func (l *line) sessionStart(e *SessionStart) {
	l.str("penstock", e.Version, maxName)
	l.list("argv", e.Argv)
	l.str("dir", e.Dir, maxPath)
	l.str("user", e.User, maxName)
	l.int("uid", e.UID)
	l.str("machine", e.Host, maxName)
	l.str("kernel", e.Kernel, maxName)
	l.str("agent", e.Agent, maxName)
	l.str("tier", e.Tier, maxName)
	l.str("mode", e.Mode, maxName)
	l.key("policy")
	l.buf = append(l.buf, `{"default":"`...)
	l.buf = append(l.buf, e.PolicyDefault.String()...)
	l.buf = append(l.buf, '"')
	l.str("hash", e.PolicyHash, maxName)
	l.key("files")
	l.buf = append(l.buf, '[')
	for i, f := range e.PolicyFiles {
		if i == maxRows {
			l.cut = true
			break
		}
		l.item(i, "path", f.Path)
		l.str("layer", f.Layer, maxName)
		l.str("hash", f.Hash, maxName)
		l.buf = append(l.buf, '}')
	}
	l.buf = append(l.buf, ']', '}')
	l.key("capabilities")
	l.buf = append(l.buf, '[')
	for i, c := range e.Capabilities {
		if i == maxRows {
			l.cut = true
			break
		}
		l.item(i, "control", c.Control)
		l.str("state", c.State, maxName)
		l.str("by", c.By, maxName)
		l.str("detail", c.Detail, maxName)
		l.str("fix", c.Fix, maxName)
		l.buf = append(l.buf, '}')
	}
	l.buf = append(l.buf, ']')
	l.list("warnings", e.Warnings)
	if a := e.Supervisor; a != nil {
		l.key("supervisor")
		l.buf = append(l.buf, '{')
		at := len(l.buf)
		l.int("uid", a.UID)
		l.int("gid", a.GID)
		l.str("cgroup", a.Cgroup, maxPath)
		l.uint("net", a.Net)
		l.uint("userns", a.UserNS)
		l.int("pid", a.PID)
		l.uint("start", a.Start)
		l.str("floor_hash", a.FloorHash, maxName)
		l.buf = append(l.buf[:at], l.buf[at+1:]...) // the comma before the first
		l.buf = append(l.buf, '}')
	}
	l.hooks(e.Hooks)
}

// item starts an object that is element i of a list, with its first member.
func (l *line) item(i int, key, value string) {
	if i > 0 {
		l.buf = append(l.buf, ',')
	}
	l.buf = append(l.buf, '{', '"')
	l.buf = append(l.buf, key...)
	l.buf = append(l.buf, '"', ':')
	l.quoted(value, maxText)
}

func (l *line) sessionEnd(e *SessionEnd) {
	l.int("exit_code", e.ExitCode)
	l.str("signal", e.Signal, maxName)
	l.str("reason", e.Reason, maxText)
	l.duration("duration_us", e.Duration)
	c := &e.Counts
	l.key("counts")
	l.buf = append(l.buf, '{')
	at := len(l.buf)
	l.uint("allowed", c.Allowed)
	l.uint("denied", c.Denied)
	l.uint("dns", c.DNS)
	l.uint("drops", c.Drops)
	l.uint("secrets", c.Secrets)
	l.uint("violations", c.Violations)
	l.uint("bytes_up", c.BytesUp)
	l.uint("bytes_down", c.BytesDown)
	l.uint("lost", c.Lost)
	l.count("executions", c.Executions)
	l.count("exits", c.Exits)
	l.count("signals", c.Signals)
	l.buf = append(l.buf[:at], l.buf[at+1:]...) // the comma before the first
	l.buf = append(l.buf, '}')
	l.hooks(e.Hooks)
}

func (l *line) loss(e *Loss) {
	l.uint("count", e.Count)
	l.str("reason", e.Reason, maxText)
	l.str("detail", e.Detail, maxText)
	if len(e.Torn) > 0 {
		l.uint("torn_bytes", uint64(len(e.Torn)))
		l.str("torn", string(e.Torn[:min(len(e.Torn), maxPath)]), maxPath)
	}
}
