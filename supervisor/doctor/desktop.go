package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/netproxy/pac"
	"github.com/penstock/penstock/policy"
)

// automatic is a setting by which a file chooses the proxy.
type automatic struct {
	where string // who says so
	url   string // the file's; "" if it is to be looked for in the network
}

// settings are what a desktop, or a file of the system, says of proxies.
type settings struct {
	proxies []setProxy
	files   []automatic
}

// desktop reads the settings of GNOME, by its own program, and of KDE. What is not
// there says nothing.
func (x *examination) desktop(root string) (s settings) {
	if x.Host.Home == "" {
		return s
	}
	if path, err := exec.LookPath("gsettings"); err == nil {
		ctx, cancel := context.WithTimeout(x.ctx, 10*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, "list-recursively", "org.gnome.system.proxy")
		cmd.Env, cmd.Dir = x.Host.Environ, x.Host.Home
		if out, err := cmd.Output(); err == nil { // without the schema it fails
			s.gnome(string(out))
		}
	}
	config := x.Host.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(config) {
		config = filepath.Join(x.Host.Home, ".config")
	}
	for _, name := range []string{filepath.Join(config, "kioslaverc"), filepath.Join(root, "/etc/xdg/kioslaverc")} {
		if b, err := os.ReadFile(name); err == nil {
			s.kde(string(b))
			break // the user's own hides the system's
		}
	}
	return s
}

// gnome reads what gsettings writes of org.gnome.system.proxy: schema, key and value
// in each line. Its proxies have a host and a port.
func (s *settings) gnome(out string) {
	values := map[string]string{}
	for line := range strings.Lines(out) {
		words := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(words) == 3 {
			values[strings.TrimPrefix(words[0], "org.gnome.system.proxy")+" "+words[1]] = unquoted(words[2])
		}
	}
	const where = "GNOME's settings"
	switch values[" mode"] {
	case "auto":
		s.files = append(s.files, automatic{where, values[" autoconfig-url"]})
	case "manual":
		for _, kind := range []struct{ key, scheme string }{{".https", "http"}, {".http", "http"}, {".socks", "socks5"}} {
			host, port := values[kind.key+" host"], values[kind.key+" port"]
			if host != "" && port != "0" {
				s.proxies = append(s.proxies, setProxy{where, kind.scheme + "://" + host + ":" + port})
			}
		}
	}
}

// unquoted is a text of GVariant's, which is in one kind of quotes or the other.
func unquoted(v string) string {
	if len(v) < 2 || v[0] != '\'' && v[0] != '"' || v[len(v)-1] != v[0] {
		return v
	}
	return strings.NewReplacer(`\\`, `\`, `\'`, `'`, `\"`, `"`).Replace(v[1 : len(v)-1])
}

// kde reads the file that KDE's programs have for their proxies: kioslaverc, in the
// form of KConfig. Between host and port there may be a space.
func (s *settings) kde(content string) {
	values := map[string]string{}
	group := ""
	for line := range strings.Lines(content) {
		line = strings.TrimSpace(line)
		if g, ok := strings.CutPrefix(line, "["); ok {
			group = g
			continue
		}
		k, v, ok := strings.Cut(line, "=")
		k, _, _ = strings.Cut(k, "[") // [$i]: it can't be changed, [$e]: with variables
		if ok && strings.HasPrefix(group, "Proxy Settings]") {
			values[strings.TrimSpace(k)] = strings.ReplaceAll(strings.TrimSpace(v), `\\`, `\`)
		}
	}
	const where = "KDE's settings"
	switch values["ProxyType"] {
	case "1":
		for _, key := range []string{"httpsProxy", "httpProxy", "socksProxy"} {
			v := strings.Replace(values[key], " ", ":", 1)
			if v == "" {
				continue
			}
			if key == "socksProxy" && !strings.Contains(v, "://") {
				v = "socks5://" + v
			}
			s.proxies = append(s.proxies, setProxy{where, strings.Replace(v, "socks://", "socks5://", 1)})
		}
	case "2":
		s.files = append(s.files, automatic{where, values["Proxy Config Script"]})
	case "3":
		s.files = append(s.files, automatic{where, ""})
	}
}

// pacFile tells of a setting that names a PAC file, and offers the lines of a policy
// that has it. It fetches nothing: what chooses the way of all requests is taken from
// the network by who asks for it, and looked at.
func (x *examination) pacFile(p *policy.Policy, a automatic, file string) {
	name := "PAC file in " + a.where
	target := filepath.Join(filepath.Dir(file), "proxy.pac")
	warn := func(detail, fix string) {
		// Not cut to one line's length: all of it is to be copied.
		x.add(Finding{Group: "files", Name: name, State: Warn, Detail: detail, Fix: fix})
	}
	if a.url == "" {
		warn("to be looked for in the network (WPAD), where anybody may answer: pens don't", "ask who runs the network for the file's URL, then: curl -fsS --create-dirs -o "+quoted(target)+" URL, and run penstock doctor again")
		return
	}
	u, err := url.Parse(a.url)
	switch {
	case err == nil && u.Scheme == "file" && (u.Host == "" || u.Host == "localhost") && filepath.IsAbs(u.Path):
		target = filepath.Clean(u.Path)
	case err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "":
	default: // what was not understood may hold a password
		warn("its value is not the URL of a file", "pens don't use it; see docs/proxies.md for PAC files")
		return
	}
	login := u.User != nil
	u.User = nil
	shown := text.Escape(u.String())
	where := target // what a policy names
	if u.Scheme == "https" && !login {
		where = u.String()
	}
	for _, up := range p.Upstreams() {
		if up.PAC == target || up.PACSource() != nil && up.PAC == canonicalPAC(where) {
			x.ok("files", name, "%s: the policy has it as %s", shown, text.Escape(up.PAC))
			return
		}
	}
	b, err := os.ReadFile(target)
	if errors.Is(err, fs.ErrNotExist) && u.Scheme != "file" {
		curl := "curl -fsS --create-dirs "
		if login {
			curl += "--user USER:PASSWORD "
		}
		says := ": a policy names a file of this machine"
		if where != target {
			says = ": no policy names it"
		}
		warn(shown+", which pens don't use"+says, "fetch it: "+curl+"-o "+quoted(target)+" "+quoted(shown)+", and run penstock doctor again, which then has the lines of a policy")
		return
	}
	if err == nil {
		_, err = pac.Parse(b)
	}
	if err != nil {
		x.bad(Warn, "files", name, fmt.Errorf("%s: %w", text.Escape(target), err), "see docs/proxies.md for PAC files")
		return
	}
	offer, err := pacProposal(where, string(b))
	if err != nil {
		x.bad(Warn, "files", name, fmt.Errorf("%s: %w", text.Escape(target), err), "name the proxies that it gives under egress.upstreams; see docs/proxies.md for PAC files")
		return
	}
	warn(shown+" is at "+text.Escape(target)+", which pens don't use: no policy names it", "if pens are to use it, in "+file+": "+offer)
}

// canonicalPAC is a URL as a policy has it, "" if it can't have it.
func canonicalPAC(url string) string {
	f, err := policy.Parse("found", policy.User, []byte("version: 1\negress: {upstreams: {auto: {pac: "+strconv.Quote(url)+", among: [direct]}}}\n"))
	if err != nil {
		return ""
	}
	p, err := policy.New([]*policy.File{f})
	if err != nil {
		return ""
	}
	return p.Upstreams()[0].PAC
}

// pacProposal is the line of a policy with a PAC file and the proxies that stand in its
// text. What it puts together from parts is not seen: then it refuses at its use.
func pacProposal(path, content string) (string, error) {
	const most = 15
	var among, entries []string
	direct := false
	seen := map[string]bool{}
	// With its port: the word behind "proxy" in a comment is none.
	way := regexp.MustCompile(`(?i)\b(?:(?:PROXY|HTTPS?|SOCKS5?)[ \t]+(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+):[0-9]+|DIRECT\b)`)
	for _, found := range way.FindAllString(content, -1) {
		ways, err := pac.Result(found)
		if err != nil || len(among) == most {
			continue
		}
		w := ways[0]
		canonical, _, err := canonicalProxy(w.String())
		switch {
		case w.Scheme == "":
			direct = true
		case err != nil || seen[canonical]:
		default:
			seen[canonical] = true
			name := "proxy" + strconv.Itoa(len(among)+1)
			among = append(among, name)
			entries = append(entries, name+": {url: "+strconv.Quote(canonical)+"}")
		}
	}
	if len(among) == 0 {
		return "", errors.New("no proxy stands in its text")
	}
	if direct {
		among = append(among, policy.Direct)
	}
	line := "egress: {via: auto, upstreams: {auto: {pac: " + strconv.Quote(path) + ", among: [" + strings.Join(among, ", ") + "]}, " + strings.Join(entries, ", ") + "}}"
	if _, err := policy.Parse("offered", policy.User, []byte("version: 1\n"+line+"\n")); err != nil {
		return "", errors.New("its name or a proxy's is none that a policy can have")
	}
	return line, nil
}

// quoted is a word for a shell.
func quoted(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
