package policy

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/penstock/penstock/hooks"
)

// Registry is the registry: of an allow rule: what a package manager reads to
// install packages, and nothing else of the host. It is immutable.
type Registry struct {
	Kind     string   `json:"kind"`               // npm, pypi, cargo, go, maven, rubygems
	Packages []string `json:"packages,omitempty"` // nil: any
	Prefix   string   `json:"prefix,omitempty"`   // path below which the registry is; "": the root

	names []string // packages, as names are compared
}

func registryKinds() []string { return []string{"npm", "pypi", "cargo", "go", "maven", "rubygems"} }

// registry reads a kind, or {kind: npm, packages: [], prefix: /path}.
func (p *parser) registry(n *yaml.Node) *Registry {
	g := &Registry{}
	kind := func(n *yaml.Node) { g.Kind, _ = p.enum(n, "registry", registryKinds()) }
	if n.Kind == yaml.ScalarNode {
		kind(n)
		return g
	}
	p.fields(n, "registry", []field{
		{"kind", kind},
		{"packages", func(n *yaml.Node) { g.Packages = p.names(n, "packages") }},
		{"prefix", func(n *yaml.Node) { g.Prefix, _ = p.text(n, "prefix") }},
	})
	return g
}

func (g *Registry) key() string { return "registry" }

func (g *Registry) check() (msg, hint string) {
	if !slices.Contains(registryKinds(), g.Kind) {
		return "it has no kind", "one of " + strings.Join(registryKinds(), ", ")
	}
	g.names = nil
	msg, hint = checkList("packages", g.Packages, func(s string) (msg, hint string) {
		if msg, hint := badCallName(s); msg != "" || strings.Contains(s, " ") {
			return "is not the name of a package", hint
		}
		if g.Kind == "maven" && strings.Count(s, ":") != 1 && s != "*" {
			return "is not GROUP:ARTIFACT", `for example "org.example:*"`
		}
		g.names = append(g.names, packageName(g.Kind, s))
		return "", ""
	})
	if msg == "" && g.Prefix != "" {
		name, slash := strings.CutPrefix(g.Prefix, "/")
		if msg, hint = badSegments(name); msg == "" && (!slash || strings.Contains(name, "*")) {
			msg, hint = "is not a path", "for example /repository/npm"
		}
		if msg != "" {
			msg = "prefix " + quote(g.Prefix) + " " + msg
		}
	}
	return msg, hint
}

// String returns it in YAML.
func (g *Registry) String() string {
	if g.Packages == nil && g.Prefix == "" {
		return g.Kind
	}
	t := speechText{[]string{"kind: " + g.Kind}}
	t.list("packages", g.Packages)
	if g.Prefix != "" {
		t.out = append(t.out, "prefix: "+quoteYAML(g.Prefix))
	}
	return t.String()
}

func (g *Registry) inBody(*hooks.Request) bool { return false }

func (g *Registry) head(r *hooks.Request, path string) string {
	rest, below := strings.CutPrefix(path, g.Prefix+"/")
	if r.Method != "GET" && r.Method != "HEAD" || r.Query != "" || !below {
		return "this does not read packages (GET or HEAD, no query, below its prefix)"
	}
	name, ok := g.packageOf(rest)
	switch {
	case !ok:
		return "this is not what " + g.Kind + " reads of a registry"
	case name != "" && g.Packages != nil && !matchesName(g.names, packageName(g.Kind, name)):
		return "the package is none of its packages"
	}
	return ""
}

// packageName is a name as a registry compares it.
func packageName(kind, s string) string {
	switch kind {
	case "pypi": // PEP 503
		s = strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(s))
		for strings.Contains(s, "--") {
			s = strings.ReplaceAll(s, "--", "-")
		}
	case "cargo":
		s = strings.ToLower(strings.ReplaceAll(s, "_", "-"))
	}
	return s
}

// packageOf finds the package that a path below the prefix is about, "" for what is
// about all of them. ok is false for what installing a package does not need.
func (g *Registry) packageOf(path string) (name string, ok bool) {
	if g.Kind == "npm" && strings.Contains("/"+path, "/@") {
		path = strings.Replace(path, "%2F", "/", 1) // the slash of a scope
	}
	segs := strings.Split(path, "/")
	dir := len(segs) > 1 && segs[len(segs)-1] == ""
	if dir {
		segs = segs[:len(segs)-1]
	}
	for _, s := range segs {
		if !packageSegment(s) {
			return "", false
		}
	}
	if dir && (g.Kind != "pypi" || segs[0] != "simple") {
		return "", false
	}
	switch g.Kind {
	case "npm":
		return npmPackage(segs)
	case "pypi":
		return pypiPackage(segs)
	case "cargo":
		return cargoPackage(segs)
	case "go":
		return goPackage(segs)
	case "maven":
		return mavenPackage(segs)
	case "rubygems":
		return gemPackage(segs)
	}
	return "", false
}

// packageSegment says whether a segment of a path can be of a registry's.
func packageSegment(s string) bool {
	if s == "" || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !unreserved(c) && c != '@' && c != '+' && c != '!' {
			return false
		}
	}
	return true
}

// npmPackage knows /NAME, /NAME/VERSION and /NAME/-/FILE.tgz, where NAME may be
// @SCOPE/NAME, and of /-/ what tells of versions and signatures.
func npmPackage(segs []string) (string, bool) {
	if segs[0] == "-" {
		switch rest := strings.Join(segs[1:], "/"); {
		case rest == "ping" || rest == "npm/v1/keys":
			return "", true
		case len(segs) > 3 && segs[1] == "package" && segs[len(segs)-1] == "dist-tags":
			name, left, ok := npmName(segs[2 : len(segs)-1])
			return name, ok && len(left) == 0
		}
		return "", false
	}
	name, rest, ok := npmName(segs)
	switch {
	case !ok:
		return "", false
	case len(rest) == 0:
		return name, true
	case len(rest) == 1:
		return name, npmWord(rest[0])
	}
	// Some registries have the scope behind "-" too.
	if len(rest) == 3 && strings.HasPrefix(name, rest[1]+"/") {
		rest = []string{rest[0], rest[2]}
	}
	short := name[strings.LastIndexByte(name, '/')+1:]
	return name, len(rest) == 2 && rest[0] == "-" && strings.HasPrefix(rest[1], short+"-") && strings.HasSuffix(rest[1], ".tgz")
}

// npmName cuts NAME or @SCOPE/NAME off.
func npmName(segs []string) (name string, rest []string, ok bool) {
	if scope, scoped := strings.CutPrefix(segs[0], "@"); scoped {
		if len(segs) < 2 || !npmWord(scope) || !npmWord(segs[1]) {
			return "", nil, false
		}
		return segs[0] + "/" + segs[1], segs[2:], true
	}
	return segs[0], segs[1:], npmWord(segs[0])
}

// npmWord says whether s can be a name or a version: "-", "_" and "." begin what
// is neither.
func npmWord(s string) bool {
	return s != "" && !strings.ContainsAny(s[:1], "-_.") && !strings.ContainsAny(s, "@!")
}

// pypiPackage knows the simple index (PEP 503, 658), its files, and the JSON of a
// project.
func pypiPackage(segs []string) (string, bool) {
	last := segs[len(segs)-1]
	switch {
	case segs[0] == "simple" && len(segs) == 1:
		return "", true
	case segs[0] == "simple" && len(segs) == 2:
		return last, true
	case segs[0] == "pypi" && last == "json" && (len(segs) == 3 || len(segs) == 4):
		return segs[1], true
	case segs[0] != "packages" || len(segs) < 2:
		return "", false
	}
	file := strings.TrimSuffix(last, ".metadata")
	if f, ok := strings.CutSuffix(file, ".whl"); ok {
		name, _, _ := strings.Cut(f, "-") // "-" is "_" within its parts
		return name, name != "" && strings.Count(f, "-") >= 4
	}
	for _, ext := range []string{".tar.gz", ".zip", ".tar.bz2"} {
		if f, ok := strings.CutSuffix(file, ext); ok {
			i := strings.LastIndexByte(f, '-')
			if i <= 0 {
				return "", false
			}
			return f[:i], true
		}
	}
	return "", false
}

// cargoPackage knows the sparse index and downloads.
func cargoPackage(segs []string) (string, bool) {
	switch n := len(segs); {
	case n == 1:
		return "", segs[0] == "config.json"
	case segs[0] == "crates" && n == 3:
		return segs[1], strings.HasPrefix(segs[2], segs[1]+"-") && strings.HasSuffix(segs[2], ".crate")
	case segs[0] == "crates" && n == 4:
		return segs[1], segs[3] == "download"
	case n == 6 && strings.Join(segs[:3], "/") == "api/v1/crates":
		return segs[3], segs[5] == "download"
	case n == 2:
		return segs[1], segs[0] == "1" && len(segs[1]) == 1 || segs[0] == "2" && len(segs[1]) == 2
	case n == 3 && segs[0] == "3":
		return segs[2], len(segs[2]) == 3 && segs[1] == segs[2][:1]
	case n == 3:
		return segs[2], len(segs[2]) > 3 && segs[0] == segs[2][:2] && segs[1] == segs[2][2:4]
	}
	return "", false
}

// goPackage knows the protocol of module proxies (go.dev/ref/mod#goproxy-protocol)
// and of checksum databases, by themselves or behind a proxy.
func goPackage(segs []string) (string, bool) {
	n := len(segs)
	if i := slices.Index(segs, "@v"); i > 0 && i == n-2 {
		file := segs[n-1]
		mod, ok := goModule(strings.Join(segs[:i], "/"))
		return mod, ok && (file == "list" || strings.HasSuffix(file, ".info") || strings.HasSuffix(file, ".mod") || strings.HasSuffix(file, ".zip"))
	}
	if n > 1 && segs[n-1] == "@latest" {
		return goModule(strings.Join(segs[:n-1], "/"))
	}
	if segs[0] == "sumdb" && n > 2 {
		segs = segs[2:]
		if len(segs) == 1 && segs[0] == "supported" {
			return "", true
		}
	}
	switch {
	case len(segs) == 1 && segs[0] == "latest":
		return "", true
	case segs[0] == "tile":
		return "", len(segs) > 2 && !slices.ContainsFunc(segs[1:], func(s string) bool { return !goTile(s) })
	case segs[0] == "lookup" && len(segs) > 1:
		mod, version, ok := strings.Cut(strings.Join(segs[1:], "/"), "@")
		mod, fine := goModule(mod)
		return mod, ok && fine && version != "" && !strings.ContainsAny(version, "/@")
	}
	return "", false
}

// goTile says whether s is a segment of a tile's path: data, or x001, 017, 017.p.
func goTile(s string) bool {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "x"), ".p")
	return s == "data" || s != "" && len(s) <= 3 && strings.Trim(s, "0123456789") == ""
}

// goModule decodes a module's path, in which capitals are "!" and a small letter.
func goModule(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '!' {
			if i++; i == len(s) || s[i] < 'a' || s[i] > 'z' {
				return "", false
			}
			c = s[i] - 'a' + 'A'
		} else if c == '@' || 'A' <= c && c <= 'Z' {
			return "", false
		}
		b.WriteByte(c)
	}
	return b.String(), s != ""
}

// mavenPackage knows /GROUP/ARTIFACT/VERSION/ARTIFACT-FILE, with dots of the group
// as slashes, and maven-metadata.xml.
func mavenPackage(segs []string) (string, bool) {
	n := len(segs)
	file := segs[n-1]
	if strings.HasPrefix(file, "maven-metadata.xml") {
		dir := segs[:n-1]
		if len(dir) > 2 && strings.HasSuffix(dir[len(dir)-1], "-SNAPSHOT") {
			dir = dir[:len(dir)-1]
		}
		if len(dir) < 2 {
			return "", false
		}
		return strings.Join(dir[:len(dir)-1], ".") + ":" + dir[len(dir)-1], true
	}
	if n < 4 || !strings.HasPrefix(file, segs[n-3]+"-") {
		return "", false
	}
	return strings.Join(segs[:n-3], ".") + ":" + segs[n-3], true
}

// gemPackage knows the compact index, the old one, and files.
func gemPackage(segs []string) (string, bool) {
	switch path := strings.Join(segs, "/"); path {
	case "versions", "names", "specs.4.8.gz", "latest_specs.4.8.gz", "prerelease_specs.4.8.gz":
		return "", true
	}
	if len(segs) == 2 && segs[0] == "info" {
		return segs[1], true
	}
	file, ok := "", false
	switch {
	case len(segs) == 2 && segs[0] == "gems":
		file, ok = strings.CutSuffix(segs[1], ".gem")
	case len(segs) == 3 && segs[0] == "quick" && segs[1] == "Marshal.4.8":
		file, ok = strings.CutSuffix(segs[2], ".gemspec.rz")
	}
	m := regexp.MustCompile(`^(.+?)-[0-9][0-9A-Za-z.]*(-(java|jruby|ruby|mswin|mingw|universal|x86|x64|arm|aarch64|i[3-6]86|ppc|powerpc|riscv64|s390x)[0-9A-Za-z_-]*)?$`).FindStringSubmatch(file)
	if !ok || m == nil {
		return "", false
	}
	return m[1], true
}
