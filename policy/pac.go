package policy

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// IsPAC says whether its way is chosen by a file, among other upstreams.
func (u *Upstream) IsPAC() bool { return u.PAC != "" }

// PACSource is where the file is got from, nil if it is one of this machine.
func (u *Upstream) PACSource() *Proxy { return u.source }

// RefreshEvery is how often a file that is got is got again.
func (u *Upstream) RefreshEvery() time.Duration {
	if u.Refresh == 0 {
		return time.Hour
	}
	return u.Refresh
}

// Bounds of refresh.
const (
	minRefresh = time.Second
	maxRefresh = 24 * time.Hour
)

// isURL says whether a pac is no path.
func isURL(pac string) bool { return strings.Contains(pac, "://") }

// hintPAC is for a URL that can't be one of a file.
const hintPAC = "write the path of a file, or a URL of https: what is got in clear anybody on the way could change"

// pacFields are the keys of an upstream whose way a file chooses.
func (p *parser) pacFields(u *Upstream) []field {
	return []field{
		{"pac", func(n *yaml.Node) {
			if s, ok := p.text(n, "pac"); !ok || !isURL(s) {
				u.PAC = p.certPath(n, "pac")
			} else if w, msg, _ := webhookOf(s); msg != "" {
				p.fail(n, hintPAC, "pac: %s", msg)
			} else {
				u.PAC = w.URL
			}
		}},
		{"refresh", func(n *yaml.Node) {
			if d, ok := p.duration(n, "refresh"); ok {
				if u.Refresh = d; d < minRefresh || d > maxRefresh {
					p.fail(n, "for example refresh: 1h", "refresh is not from %s to %s", minRefresh, "24h")
				}
			}
		}},
		{"among", func(n *yaml.Node) {
			p.texts(n, "among", func(c *yaml.Node, _ string) {
				if s, ok := p.via(c, "among"); ok {
					u.Among = append(u.Among, s)
				}
			})
		}},
		{"my_address", func(n *yaml.Node) {
			s, ok := p.text(n, "my_address")
			a, err := netip.ParseAddr(s)
			if ok && (err != nil || a.Zone() != "" || a.IsUnspecified()) {
				p.fail(n, "for example 10.1.2.3", "my_address %s is not an address", quote(s))
			}
			u.MyAddress = a
		}},
	}
}

// checkPAC says why a file can't choose.
func (u *Upstream) checkPAC() (msg, hint string) {
	switch {
	case !u.IsPAC() && (len(u.Among) > 0 || u.MyAddress.IsValid() || u.Refresh != 0):
		return "has among, my_address or refresh and no pac", "they are for pac: FILE"
	case !u.IsPAC():
		return "", ""
	case !isURL(u.PAC) && u.Refresh != 0:
		return "has refresh and a pac of this machine", "it is for pac: https://…: a file is read when the session begins"
	case u.Refresh != 0 && (u.Refresh < minRefresh || u.Refresh > maxRefresh):
		return "has a refresh that is too short or too long", ""
	case len(u.URLs) > 0 || u.User != "" || u.LogsIn() || u.Auth != "" || len(u.KDC) > 0 || u.Client != (ClientCert{}) || len(u.Addresses) > 0 && !isURL(u.PAC):
		return "has a pac and keys of a proxy", "a file chooses among other upstreams: give each proxy an entry of its own, with its url and login, and name it in among"
	case len(u.Among) == 0 || len(u.Among) > maxProxies:
		return "has a pac and nothing to choose", "add among: [NAME, direct], the upstreams that the file's proxies are"
	case slices.Contains(u.Among, u.Name):
		return "has itself in among", ""
	case strings.ContainsAny(u.PAC, "\x00\n\r"):
		return "has a pac that is no path", ""
	}
	seen := map[string]bool{}
	for _, name := range u.Among {
		if seen[name] || name != Direct && !validUpstream(name) {
			return "has a name in among twice, or one that is none", ""
		}
		seen[name] = true
	}
	return "", ""
}

// pacText is a file's upstream as YAML.
func (u *Upstream) pacText() string {
	t := "{pac: " + quoteYAML(u.PAC) + ", among: [" + strings.Join(u.Among, ", ") + "]"
	if u.Refresh != 0 {
		t += ", refresh: " + timeText(u.Refresh)
	}
	if u.MyAddress.IsValid() {
		t += ", my_address: " + quoteYAML(u.MyAddress.String())
	}
	return t
}

// Proxy returns the upstream of that name, nil if there is none.
func (p *Policy) Proxy(name string) *Upstream { return p.upstream(name) }

// finishPAC completes where the file is got from.
func (u *Upstream) finishPAC() bool {
	u.source = nil
	if !isURL(u.PAC) {
		return true
	}
	w, msg, _ := webhookOf(u.PAC)
	if msg != "" || w.URL != u.PAC {
		return false
	}
	u.source = &Proxy{Target: w.target, Dial: u.dial(w.target)}
	return true
}

// checkAmong holds what a file chooses among to upstreams that are proxies, of its
// own layer or one above.
func (m *merge) checkAmong(u *Upstream) {
	for _, name := range u.Among {
		i := slices.IndexFunc(m.d.Upstreams, func(v Upstream) bool { return v.Name == name })
		switch {
		case name == Direct:
		case i < 0 || m.d.Upstreams[i].From.Layer > u.From.Layer:
			m.errs.add(u.From, "", "among of upstream %s: there is no upstream %s in this layer or above it", u.Name, quote(name))
		case m.d.Upstreams[i].IsPAC():
			m.errs.add(u.From, "", "among of upstream %s: %s has a pac itself", u.Name, name)
		}
	}
}
