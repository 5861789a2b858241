package policy

import (
	"errors"
	"strings"

	"github.com/penstock/penstock/hooks"
)

// Webhook is the http: of a hook: a URL that is asked, and where the key comes
// from by which the questions are signed. It holds no value of a key.
type Webhook struct {
	URL    string // canonical, of https
	Key    Origin
	Client ClientCert

	target hooks.Target
}

// webhookOf reads a URL.
func webhookOf(raw string) (w *Webhook, msg, hint string) {
	const hintURL = "for example https://hooks.corp.example/penstock"
	r, err := ParseRequest(raw, "POST")
	switch {
	case err != nil:
		return nil, "URL " + quote(raw) + " can't be asked: " + cause(err), hintURL
	case !strings.HasPrefix(strings.ToLower(raw), "https://") || strings.Contains(raw, "#"):
		return nil, "URL " + quote(raw) + " is not one of https", hintURL
	case r.Target.Host == HostInternal || r.Target.Host == "localhost":
		return nil, "URL " + quote(raw) + " is of the host's loopback", "give it a name and a certificate that others know it by"
	}
	u := "https://" + r.Target.String() + r.Path
	if r.Query != "" {
		u += "?" + r.Query
	}
	if len(u) > 2048 || !isPrintableASCII(u) {
		return nil, "URL " + quote(raw) + " is not up to 2048 printable ASCII characters", hintURL
	}
	return &Webhook{URL: u, target: r.Target}, "", ""
}

// readWebhook reads http: and key: of a hook.
func readWebhook(p *parser, h *hookNode) Runner {
	n := h.values["http"]
	s, ok := p.text(n, "http")
	if !ok {
		return nil
	}
	if p.lay == System {
		// Its key would be read by the caller, and what the caller says of names and
		// roots would decide who answers.
		p.fail(n, "write it into the user's file", "a hook of the system's policy can't be a webhook yet")
		return nil
	}
	w, msg, hint := webhookOf(s)
	if msg != "" {
		p.fail(n, hint, "%s", msg)
		return nil
	}
	if h.values["key"] == nil {
		p.fail(h.Node, "add key: env:NAME or file:PATH, a secret that you share with who answers", "the hook has no key to sign its questions with")
		return nil
	}
	w.Key = p.origin(h.values["key"], "key", forHook)
	w.Client = p.clientCert(h)
	if msg, hint := w.Client.check(); msg != "" {
		p.fail(h.Node, hint, "the hook %s", msg)
		return nil
	}
	return w
}

// wireWebhook is a webhook as it travels.
type wireWebhook struct {
	URL    string     `json:"url"`
	Key    Origin     `json:"key"`
	Client ClientCert `json:"client,omitzero"`
}

func (*Webhook) kind() string { return "http" }
func (w *Webhook) text() string {
	return "http: " + quoteYAML(w.URL) + ", key: " + w.Key.text() + w.Client.text()
}
func (w *Webhook) wire() any        { return &wireWebhook{w.URL, w.Key, w.Client} }
func (w *Webhook) variable() string { return w.Key.Env }
func (*Webhook) loosens() string    { return "" }

func (w *Webhook) located(path func(string) (string, bool)) (Runner, string, bool) {
	own := *w
	if given, ok := own.Client.locate(path); !ok {
		return nil, given, false
	}
	if w.Key.File == "" {
		return &own, "", true
	}
	var ok bool
	own.Key.File, ok = path(w.Key.File)
	return &own, w.Key.File, ok
}

func (w *Webhook) outside(l *Limits) (what string, limit *Source) {
	if l.reaches(&w.target) {
		return "", nil
	}
	return "URL", &l.Egress.From
}

// reaches says whether a target is one that lower layers may name.
func (l *Limits) reaches(t *hooks.Target) bool {
	if t.Host != "" {
		return l.hostAllowed(hostPattern{name: t.Host})
	}
	r, err := t.Addr.Prefix(t.Addr.BitLen())
	return err == nil && l.rangeAllowed(r)
}

// believeWebhook checks what travelled.
func believeWebhook(raw []byte, from Source) (Runner, error) {
	var w wireWebhook
	if err := strictJSON(raw, &w); err != nil {
		return nil, err
	}
	out, msg, _ := webhookOf(w.URL)
	switch {
	case msg != "":
		return nil, errors.New("read hook: " + msg)
	case !w.Key.validOnce(from.Layer) || w.Key.File != "" && !plainPath(w.Key.File):
		return nil, errors.New("read hook: it has no key")
	}
	if msg, _ := w.Client.check(); msg != "" || !w.Client.plain() {
		return nil, errors.New("read hook: its certificate is at no path")
	}
	out.Client = w.Client
	out.Key = w.Key
	return out, nil
}
