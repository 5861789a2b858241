package policy

import (
	"errors"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/penstock/penstock/hooks"
)

// Webhook is the http: of a hook: a URL that is asked, and where the key comes
// from by which the questions are signed. It holds no value of a key.
type Webhook struct {
	URL     string // canonical, of https
	KeyEnv  string // variable of the host; or
	KeyFile string // absolute path

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

// hookURL reads the http: of a hook.
func (p *parser) hookURL(h *Hook, n *yaml.Node) {
	s, ok := p.text(n, "http")
	if !ok {
		return
	}
	if p.lay == System {
		// Its key would be read by the caller, and what the caller says of names and
		// roots would decide who answers.
		p.fail(n, "write it into the user's file", "a hook of the system's policy can't be a webhook yet")
		return
	}
	w, msg, hint := webhookOf(s)
	if msg != "" {
		p.fail(n, hint, "%s", msg)
		return
	}
	h.HTTP = w
}

// keyText is where a webhook's key comes from, as it is written.
func (w *Webhook) keyText() string {
	if w.KeyFile != "" {
		return "file:" + w.KeyFile
	}
	return "env:" + w.KeyEnv
}

// wireWebhook is a webhook as it travels.
type wireWebhook struct {
	URL     string `json:"url"`
	KeyEnv  string `json:"key_env,omitempty"`
	KeyFile string `json:"key_file,omitempty"`
}

func (w *Webhook) wire() *wireWebhook {
	if w == nil {
		return nil
	}
	return &wireWebhook{w.URL, w.KeyEnv, w.KeyFile}
}

// webhook checks what travelled.
func (w *wireWebhook) webhook() (*Webhook, error) {
	out, msg, _ := webhookOf(w.URL)
	switch {
	case msg != "":
		return nil, errors.New("read hook: " + msg)
	case (w.KeyEnv == "") == (w.KeyFile == "") || w.KeyEnv != "" && !validEnv(w.KeyEnv) || w.KeyFile != "" && strings.ContainsAny(w.KeyFile, "\x00\n\r"):
		return nil, errors.New("read hook: it has no key")
	}
	out.KeyEnv, out.KeyFile = w.KeyEnv, w.KeyFile
	return out, nil
}

// webhooks joins what hooks say with what other sections do.
func (m *merge) webhooks() {
	for _, h := range m.d.Hooks {
		if h.HTTP == nil || h.HTTP.KeyEnv == "" {
			continue
		}
		for _, p := range m.d.Environment.Pass {
			if p.Pattern == h.HTTP.KeyEnv {
				m.errs.add(p.From, "remove it: who has the key can answer for the hook", "%s is the key of hook %s (%s), so its value can't be passed to the pen", p.Pattern, h.Name, h.From.Ref())
			}
		}
	}
}

// boundHooks holds the places that hooks of a lower layer ask within limits.egress.
func (m *merge) boundHooks(l *Limits, low *File) {
	for _, h := range low.hooks {
		if h.HTTP == nil {
			continue
		}
		r := Rule{host: hostPattern{name: h.HTTP.target.Host}}
		if t := h.HTTP.target; t.Host == "" {
			r.cidr, _ = t.Addr.Prefix(t.Addr.BitLen())
		}
		if r.cidr.IsValid() && !l.rangeAllowed(r.cidr) || !r.cidr.IsValid() && !l.hostAllowed(r.host) {
			m.outside(h.From, l.Egress.From, "the URL of hook %s is outside limits.egress", h.Name)
		}
	}
}
