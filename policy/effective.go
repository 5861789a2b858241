package policy

import "strconv"

// Setting is one thing that is in force, with who said it.
type Setting struct {
	Key   string `json:"key"`             // e.g. "sandbox.memory", "egress.allow"
	Value string `json:"value"`           // in YAML; "not set" where there is none
	From  string `json:"from"`            // file:line, a flag, or "built in"
	Layer string `json:"layer,omitempty"` // whose word it is; "" for built in
}

// builtIn is where a value is from that nobody set.
const builtIn = "built in"

// Effective lists everything that is in force, also what nobody set. What Show
// writes for people, this is for programs.
func (p *Policy) Effective() []Setting {
	e := &effective{}
	d := &p.d
	s := &d.Sandbox
	effectiveValue(e, "sandbox.tier", s.Tier, plainText, "auto")
	effectiveValue(e, "sandbox.tiers", s.Tiers, tierNames, notSet)
	effectiveValue(e, "sandbox.memory", s.Memory, sizeText, notSet)
	effectiveValue(e, "sandbox.cpus", s.CPUs, numberText, notSet)
	effectiveValue(e, "sandbox.pids", s.PIDs, countText, notSet)
	effectiveValue(e, "sandbox.open_files", s.OpenFiles, countText, notSet)
	effectiveValue(e, "sandbox.read_rate", s.ReadRate, sizeText, notSet)
	effectiveValue(e, "sandbox.write_rate", s.WriteRate, sizeText, notSet)
	effectiveValue(e, "sandbox.timeout", s.Timeout, timeText, notSet)
	effectiveValue(e, "sandbox.idle", s.Idle, timeText, notSet)
	effectiveValue(e, "sandbox.on_violation", s.OnViolation, plainText, Continue)
	effectiveValue(e, "sandbox.worktree", s.Worktree, strconv.FormatBool, "false")
	fs := &d.Filesystem
	for _, l := range []struct {
		key  string
		list []PathGrant
	}{{"filesystem.write", fs.Write}, {"filesystem.read", fs.Read}, {"filesystem.hide", fs.Hide}, {"filesystem.protect", fs.Protect}, {"egress.ca", d.CA}} {
		for _, g := range l.list {
			e.add(l.key, pathText(g.Path), g.From)
		}
	}
	for _, v := range d.Environment.Pass {
		e.add("environment.pass", quoteYAML(v.Pattern), v.From)
	}
	for _, v := range d.Environment.Set {
		e.add("environment.set", "{"+yamlText(v.Name)+": "+quoteYAML(v.Value)+"}", v.From)
	}
	effectiveValue(e, "environment.proxy_variables", d.Environment.Proxy, strconv.FormatBool, "true")
	if d.Mode.V == string(Audit) {
		e.add("egress.default", "allow", d.Mode.From)
	} else {
		effectiveValue(e, "egress.default", d.Default, plainText, "deny")
	}
	effectiveValue(e, "egress.ask_timeout", d.AskTimeout, timeText, timeText(DefaultAskTime))
	effectiveValue(e, "egress.via", d.Via, plainText, Direct)
	for _, u := range d.Upstreams {
		e.add("egress.upstreams", "{"+yamlText(u.Name)+": "+u.text()+"}", u.From)
	}
	for _, r := range d.Rules {
		e.add("egress."+r.list(), r.Text, r.Source)
	}
	for i := range d.Approvers {
		e.add("egress.approvers", "{"+d.Approvers[i].text()+"}", d.Approvers[i].From)
	}
	for _, h := range d.Hosts {
		e.add("egress.hosts", "{"+yamlText(h.Name)+": "+quoteYAML(h.Addr.String())+"}", h.From)
	}
	for i := range d.Secrets {
		e.add("secrets", secretText(&d.Secrets[i]), d.Secrets[i].From)
	}
	for i := range d.Hooks {
		e.add("hooks", hookText(&d.Hooks[i]), d.Hooks[i].From)
	}
	l := p.Limits()
	l.each(func(key, text string, _ bool, from Source) { e.add("limits."+key, text, from) })
	return e.list
}

type effective struct{ list []Setting }

func (e *effective) add(key, value string, from Source) {
	e.list = append(e.list, Setting{key, value, from.Ref(), from.Layer.String()})
}

func effectiveValue[T any](e *effective, key string, v Value[T], text func(T) string, unset string) {
	if v.Set {
		e.add(key, text(v.V), v.From)
		return
	}
	e.list = append(e.list, Setting{Key: key, Value: unset, From: builtIn})
}
