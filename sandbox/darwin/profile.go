package darwin

import (
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/penstock/penstock/sandbox"
)

// Options are what a profile has beside the Spec. The zero value reaches no network.
type Options struct {
	// Proxy is the port at localhost that may be connected to; 0: none.
	Proxy uint16
	// Terminal is the session's own, e.g. /dev/ttys003; "" if it has none.
	Terminal string
	// Services are Mach services beside those of every pen. Each of them is a process
	// outside that works for its clients.
	Services []string
}

// The operations that rules for files are about. Rules that allow and rules that deny
// name the same ones, so that nothing depends on which goes first.
func readOps() []string  { return []string{"file-read*", "file-map-executable", "process-exec*"} }
func writeOps() []string { return []string{"file-write*"} }
func fileOps() []string  { return append(readOps(), writeOps()...) }

// moveOps are by which a name is given to something else.
func moveOps() []string { return []string{"file-write-create", "file-write-unlink"} }

// access is what a mount leaves of what is at a path.
type access uint8

const (
	nothing access = iota
	readable
	writable
)

// place is a mount as a profile has it.
type place struct {
	path   string // canonical
	access access
}

// Profile returns the profile of a pen. It is an error if the Spec says something that
// a profile can't keep.
func Profile(s *sandbox.Spec, o Options, host Host) (string, error) {
	if len(s.Files) > 0 {
		return "", refuse("put it into a directory that is granted", "file %q can't be made: there is no mount namespace", s.Files[0].Target)
	}
	b := &builder{paths: paths{host: host, names: map[string][]string{}}}
	for _, m := range s.Mounts {
		if err := b.mount(m); err != nil {
			return "", err
		}
	}
	if err := b.placeholders(); err != nil {
		return "", err
	}
	rules, err := common(s, o)
	if err != nil {
		return "", err
	}
	rules = append(rules, b.files()...)
	return render(rules), nil
}

// builder collects the places of a profile.
type builder struct {
	paths
	places  []place
	missing []string // what is denied and not there
}

func (b *builder) mount(m sandbox.Mount) error {
	target, exists, err := b.canonical(m.Target)
	if err != nil {
		return err
	}
	if fix, why := reserved(target); why != "" {
		return refuse(fix, "%q can't be a mount: %s", m.Target, why)
	}
	switch m.Kind {
	case sandbox.Bind:
		source, exists, err := b.canonical(m.Source)
		switch {
		case err != nil:
			return err
		case source != target:
			return refuse("grant it at its own place", "%q can't be shown at %q: there is no mount namespace", m.Source, m.Target)
		case !exists && m.Optional:
			return nil
		case !exists:
			return refuse("name what is there", "%q does not exist", m.Source)
		}
		p := place{target, readable}
		if m.Write {
			p.access = writable
		}
		b.places = append(b.places, p)
	case sandbox.Tmpfs, sandbox.Blank, sandbox.BlankDir, sandbox.Null:
		b.places = append(b.places, place{target, nothing})
		if !exists {
			b.missing = append(b.missing, target)
		}
	default:
		return refuse("leave it out", "the link at %q can't be made: there is no mount namespace", m.Target)
	}
	return nil
}

// reserved says why a path can't be a mount's.
func reserved(p string) (fix, why string) {
	switch {
	case p == "/":
		return "name the directories that are needed", "it is the whole machine"
	case within(p, "/dev"):
		return "leave it out", "which devices there are is the tier's"
	case p == "/System" || p == "/System/Volumes" || within(p, "/System/Volumes/Data"):
		return "name /System/Library, or a path without /System/Volumes/Data", "it holds all data a second time"
	}
	return "", ""
}

// at returns what the last mount over a path leaves of it.
func (b *builder) at(p string) access {
	for _, m := range slices.Backward(b.places) {
		if within(p, m.path) {
			return m.access
		}
	}
	return nothing
}

// placeholders refuses a name that is denied where the command can write and not there:
// the command could make it by another spelling, that no rule has.
func (b *builder) placeholders() error {
	for _, p := range b.missing {
		if b.at(path.Dir(p)) == writable {
			return refuse("make its placeholder first", "%q does not exist, in a directory that can be written", p)
		}
	}
	return nil
}

// files returns the rules of all places. They follow the order of the mounts.
func (b *builder) files() []rule {
	var out []rule
	seen := map[string]bool{} // directories on the way, which can be looked at and passed
	fixed := map[string]bool{}
	for _, p := range b.places {
		switch at := []string{subpath(p.path)}; p.access {
		case writable:
			out = append(out, rule{ops: fileOps(), filters: at})
		case readable:
			out = append(out, rule{ops: readOps(), filters: at}, rule{deny: true, ops: writeOps(), filters: at})
		default:
			out = append(out, rule{deny: true, ops: fileOps(), filters: at})
		}
		if b.at(p.path) != nothing {
			parents(p.path, func(dir string) { seen[dir] = true })
		}
		// A mount point is busy, and so is what is around one in a writable place.
		if b.at(p.path) == writable {
			fixed[p.path] = true
		}
		for dir := path.Dir(p.path); b.at(dir) == writable; dir = path.Dir(dir) {
			fixed[dir] = true
		}
	}
	for _, l := range b.links {
		seen[l] = true
	}
	if len(seen) > 0 {
		out = append(out, rule{ops: []string{"file-read-metadata"}, filters: literals(seen)})
	}
	if len(fixed) > 0 {
		out = append(out, rule{deny: true, ops: moveOps(), filters: literals(fixed)})
	}
	// Last, so that nothing above allows it.
	all := append(fileOps(), "file-read-metadata")
	out = append(out, rule{deny: true, ops: []string{"file-write-setugid"}})
	return append(out, rule{deny: true, ops: append(all, moveOps()...), filters: []string{subpath("/System/Volumes/Data")}})
}

func literals(set map[string]bool) []string {
	var out []string
	for p := range set {
		out = append(out, p)
	}
	sort.Strings(out)
	for i, p := range out {
		out[i] = literal(p)
	}
	return out
}

// common returns the rules that don't depend on the mounts.
func common(s *sandbox.Spec, o Options) ([]rule, error) {
	own := []string{"(target same-sandbox)"}
	out := []rule{
		{ops: []string{"process-fork"}},
		{ops: []string{"signal"}, filters: own},
		{ops: []string{"process-info*"}, filters: own},
		{ops: []string{"sysctl-read"}, filters: filters("sysctl-name", sysctls())},
		// The loader reads the root directory's list.
		{ops: []string{"file-read*"}, filters: []string{literal("/")}},
		{ops: []string{"file-read*"}, filters: []string{literal("/dev/random"), literal("/dev/urandom")}},
		{ops: []string{"file-read*", "file-write-data"}, filters: []string{literal("/dev/null"), literal("/dev/zero")}},
		// Terminals that the command makes carry the kernel's mark of that.
		{ops: []string{"pseudo-tty"}},
		{ops: []string{"file-read*", "file-write-data", "file-ioctl"}, filters: []string{literal("/dev/ptmx"), `(require-all (regex #"^/dev/ttys[0-9]+$") (extension "com.apple.sandbox.pty"))`}},
	}
	var tty []string
	if s.Terminal {
		tty = append(tty, literal("/dev/tty"))
	}
	if o.Terminal != "" {
		n, ok := strings.CutPrefix(o.Terminal, "/dev/ttys")
		if !ok || n == "" || len(n) > 6 || strings.Trim(n, "0123456789") != "" {
			return nil, refuse("name a /dev/ttys…", "%q is no terminal", o.Terminal)
		}
		tty = append(tty, literal(o.Terminal))
	}
	if len(tty) > 0 {
		out = append(out, rule{ops: []string{"file-read*", "file-write-data", "file-ioctl"}, filters: tty})
	}
	names := services()
	for _, n := range o.Services {
		if n == "" || len(n) > 127 || strings.Trim(n, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" {
			return nil, refuse("name it as launchd does", "%q is no Mach service", n)
		}
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	out = append(out, rule{ops: []string{"mach-lookup"}, filters: filters("global-name", names)})
	if o.Proxy != 0 {
		out = append(out, rule{ops: []string{"network-outbound"}, filters: []string{localhost(o.Proxy)}})
	}
	return out, nil
}

func filters(name string, texts []string) []string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = filter(name, t)
	}
	return out
}
