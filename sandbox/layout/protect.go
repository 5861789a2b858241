package layout

import (
	"io/fs"
	"path"
	"strings"

	"github.com/penstock/penstock/sandbox"
)

// guarded is one name that the host executes or obeys later.
type guarded struct {
	name string // relative to the work directory
	dir  bool
	// missing says what to do when it isn't there.
	missing missing
	content string // of the placeholder
}

type missing uint8

const (
	skip    missing = iota // what it would do needs something that is protected
	blank                  // unreadable: nobody in the pen reads it
	null                   // empty: programs in the pen read it and mind an error
	self                   // the placeholder itself, with its content
	scratch                // a private directory that goes with the pen: a program writes there unasked and gives up if it can't
)

// scratchSize bounds a scratch directory, in bytes.
const scratchSize = 64 << 20

// usual are the names that are protected in every work directory.
func usual() []guarded {
	return []guarded{
		{name: ".git/hooks", dir: true, missing: blank},
		{name: ".git/config", missing: blank},
		{name: ".git/config.worktree", missing: skip}, // read only if config says so
		{name: ".git/info/attributes", missing: skip}, // filters are in config
		// A file that moves the repository's configuration and hooks elsewhere;
		// "." leaves them where they are (gitrepository-layout(5)).
		{name: ".git/commondir", missing: self, content: ".\n"},
		{name: ".penstock.yaml", missing: blank},
		{name: ".vscode", dir: true, missing: blank},
		{name: ".idea", dir: true, missing: blank},
		{name: ".zed", dir: true, missing: skip},
		{name: ".devcontainer", dir: true, missing: skip}, // asks before it runs
		{name: ".husky", dir: true, missing: blank},
		{name: ".githooks", dir: true, missing: skip},
		{name: ".claude", dir: true, missing: blank},
		{name: ".mcp.json", missing: null},
		{name: ".cursor", dir: true, missing: blank},
		{name: ".opencode", dir: true, missing: scratch},
		{name: "opencode.json", missing: null},
		{name: "opencode.jsonc", missing: null},
		{name: ".codex", dir: true, missing: blank},
		{name: ".gemini", dir: true, missing: blank},
		{name: ".continue", dir: true, missing: skip},
		{name: ".aider.conf.yml", missing: skip},
		{name: ".envrc", missing: skip}, // direnv asks again when it changed
		{name: ".pre-commit-config.yaml", missing: skip},
		{name: "lefthook.yml", missing: skip},
	}
}

// usualHome are names in a home that a login, a shell or a service manager
// obeys; they count when the home itself is granted.
func usualHome() []guarded {
	var out []guarded
	for _, n := range []string{".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".profile", ".zshrc", ".zshenv", ".zprofile", ".gitconfig", ".inputrc", ".vimrc", ".tmux.conf"} {
		out = append(out, guarded{name: n, missing: null})
	}
	for _, n := range []string{".ssh", ".config/autostart", ".config/systemd", ".config/git", ".config/fish", ".config/nvim", ".config/penstock", ".local/bin", ".local/share/applications", "bin"} {
		out = append(out, guarded{name: n, dir: true, missing: blank})
	}
	return out
}

func (b *builder) protectAll() {
	un := map[string]bool{}
	for _, p := range b.in.Unprotect {
		un[path.Clean(p)] = true
	}
	list := func(dir string, names []guarded) {
		for _, g := range names {
			p := path.Join(dir, g.name)
			if un[p] || un[path.Dir(p)] && path.Dir(p) != dir {
				continue
			}
			b.guard(p, g)
		}
	}
	work := b.plan.Dir
	if _, err := b.lstat(path.Join(work, ".git")); err != nil && !un[path.Join(work, ".git")] {
		// Without .git, HEAD with objects and refs beside it would make the work
		// directory itself a (bare) repository, configuration and hooks included.
		list(work, []guarded{{name: "HEAD", dir: true, missing: blank}})
	}
	list(work, b.gitNames(work))
	list(work, usual())
	for _, p := range b.in.Write {
		if real, m, ok := b.resolve(p); ok && m.IsDir() && real != work {
			names := append(b.gitNames(real), usual()...)
			for i := range names {
				names[i].missing = skip
			}
			list(real, names)
		}
	}
	if b.writable(b.plan.Home) {
		list(b.plan.Home, usualHome())
	}
	for _, p := range b.in.Protect {
		g := guarded{dir: strings.HasSuffix(p, "/"), missing: blank}
		b.guard(path.Clean(p), g)
	}
}

// guard makes one path read-only in whatever is writable above it.
func (b *builder) guard(p string, g guarded) {
	m, ok := b.cover(p)
	if !ok || m.Kind != sandbox.Bind || !m.Write || m.Target == p {
		if ok && m.Kind == sandbox.Bind && m.Write && m.Target == p {
			b.warn("%s is granted for writing by name and stays writable", p)
		}
		return
	}
	// Down from the writable mount to the path: every directory on the way
	// becomes a mount point, so that none can be renamed away.
	at := m.Target
	rest := strings.Split(strings.TrimPrefix(strings.TrimPrefix(p, at), "/"), "/")
	for i, name := range rest {
		at = path.Join(at, name)
		last := i == len(rest)-1
		mode, err := b.lstat(at)
		switch {
		case err != nil && last:
			b.absent(at, g)
			return
		case err != nil:
			// A directory above it is missing: the place is kept there.
			g.dir, g.content = true, ""
			if g.missing == self || g.missing == null {
				// Without the directory the file does not matter yet; whoever
				// needs the directory kept says so with a path of its own.
				return
			}
			b.absent(at, g)
			return
		case mode&fs.ModeSymlink != 0:
			b.link(at, strings.Join(rest[i+1:], "/"), g)
			return
		case last && mode&(fs.ModeSocket|fs.ModeNamedPipe|fs.ModeDevice|fs.ModeCharDevice) != 0:
			b.put(protect, sandbox.Mount{Kind: sandbox.Blank, Target: at})
			return
		case last:
			b.bind(protect, at, false)
			return
		case !mode.IsDir():
			// A file where a directory was expected: nothing can be below it, but
			// it could be replaced by one.
			b.bind(protect, at, false)
			return
		}
		if _, done := b.at[at]; !done {
			b.bind(shape, at, true)
		} else if b.at[at].rank == protect {
			return // all below is read-only already
		}
	}
}

// absent keeps a name from being taken.
func (b *builder) absent(p string, g guarded) {
	if g.missing == skip || !b.host.Writable(path.Dir(p)) {
		return // nor can the pen, which is the same user
	}
	m := sandbox.Mount{Target: p}
	switch {
	case g.dir && g.missing == scratch:
		m.Kind, m.Write, m.Size = sandbox.Tmpfs, true, scratchSize
	case g.dir:
		m.Kind = sandbox.BlankDir
	case g.missing == self:
		m.Kind, m.Source = sandbox.Bind, p
	case g.missing == null:
		m.Kind = sandbox.Null
	default:
		m.Kind = sandbox.Blank
	}
	if _, taken := b.at[p]; taken {
		return
	}
	b.put(protect, m)
	b.plan.Placeholders = append(b.plan.Placeholders, sandbox.Placeholder{Path: p, Dir: g.dir, Content: []byte(g.content)})
}

// link protects what a link leads to, since nothing can be mounted over a link.
func (b *builder) link(at, rest string, g guarded) {
	text, err := b.host.Readlink(at)
	if err != nil {
		return
	}
	for _, l := range b.plan.Links {
		if l.Path == at {
			return
		}
	}
	b.plan.Links = append(b.plan.Links, Link{at, text})
	real, _, ok := b.resolve(path.Join(at, rest))
	if !ok {
		return
	}
	if m, is := b.cover(real); is && m.Kind == sandbox.Bind && m.Write && m.Target != real && !within(b.plan.Dir, real) {
		g.missing = skip
		b.guard(real, g)
	}
}
