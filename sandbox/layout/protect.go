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
	// missing says what to do when it isn't there.
	missing missing
	content string // of the placeholder
}

type missing uint8

const (
	skip    missing = iota // what it would do needs something that is protected
	blank                  // an empty directory, whatever it should be: git ignores those
	self                   // a file, because programs in the pen read it: the placeholder itself, with its content
	scratch                // a private directory that goes with the pen: a program writes there unasked and gives up if it can't
)

// scratchSize bounds a scratch directory, in bytes.
const scratchSize = 64 << 20

// Contents of placeholders that are files.
const (
	here      = ".\n"
	emptyJSON = "{}\n"
)

// usual are the names that are protected in every work directory.
func usual() []guarded {
	return []guarded{
		{name: ".git/hooks", missing: blank},
		{name: ".git/config", missing: blank},
		{name: ".git/config.worktree", missing: skip}, // read only if config says so
		{name: ".git/info/attributes", missing: skip}, // filters are in config
		// A file that moves the repository's configuration and hooks elsewhere;
		// "." leaves them where they are (gitrepository-layout(5)).
		{name: ".git/commondir", missing: self, content: here},
		{name: ".penstock.yaml", missing: blank},
		{name: ".vscode", missing: blank},
		{name: ".idea", missing: blank},
		{name: ".zed", missing: skip},
		{name: ".devcontainer", missing: skip}, // asks before it runs
		{name: ".husky", missing: blank},
		{name: ".githooks", missing: skip},
		{name: ".claude", missing: blank},
		{name: ".mcp.json", missing: self, content: emptyJSON},
		{name: ".cursor", missing: blank},
		{name: ".opencode", missing: scratch},
		{name: "opencode.json", missing: self, content: emptyJSON},
		{name: "opencode.jsonc", missing: self, content: emptyJSON},
		{name: ".codex", missing: blank},
		{name: ".gemini", missing: blank},
		{name: ".continue", missing: skip},
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
		out = append(out, guarded{name: n, missing: self})
	}
	for _, n := range []string{".ssh", ".config/autostart", ".config/systemd", ".config/git", ".config/fish", ".config/nvim", ".config/penstock", ".local/bin", ".local/share/applications", "bin"} {
		out = append(out, guarded{name: n, missing: blank})
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
		list(work, []guarded{{name: "HEAD", missing: blank}})
	}
	if b.in.Tree != "" && !b.in.Guarded {
		// Also if it is granted by name: on the host it must lead nowhere.
		b.bind(protect, path.Join(work, ".git"), false)
	} else {
		list(work, b.gitNames(work))
		list(work, usual())
	}
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
	b.ignoreFiles(work)
	for _, p := range b.in.Protect {
		b.guard(path.Clean(p), guarded{missing: blank})
	}
}

// guard makes one path read-only in whatever is writable above it.
func (b *builder) guard(p string, g guarded) {
	m, ok := b.cover(p)
	if !ok || m.Kind != sandbox.Bind || !m.Write {
		return
	}
	if m.Target == p {
		if m.rank != shape {
			b.warn("%s is granted for writing by name and stays writable", p)
			return
		}
		b.bind(protect, p, false)
		return
	}
	// Down from the writable mount to the path: every directory on the way
	// becomes a mount point, so that none can be renamed away.
	at := m.Target
	var way []string
	rest := strings.Split(strings.TrimPrefix(strings.TrimPrefix(p, at), "/"), "/")
	for i, name := range rest {
		at = path.Join(at, name)
		last := i == len(rest)-1
		mode, err := b.lstat(at)
		if err == nil && mode.IsDir() && !last {
			way = append(way, at)
			continue
		}
		switch {
		case err != nil:
			// If a directory above it is missing, its place is kept. A file of ours
			// does not matter without the directory; whoever needs that kept says
			// so with a path of its own.
			if !last && g.missing == self || !b.absent(at, g) {
				return
			}
		case mode&fs.ModeSymlink != 0:
			b.link(at, strings.Join(rest[i+1:], "/"), g)
		case mode&(fs.ModeSocket|fs.ModeNamedPipe|fs.ModeDevice|fs.ModeCharDevice) != 0:
			b.put(protect, sandbox.Mount{Kind: sandbox.Blank, Target: at})
		default:
			// Also a file where a directory was expected: nothing can be below it,
			// but it could be replaced by one.
			b.bind(protect, at, false)
		}
		break
	}
	for _, dir := range way {
		b.bind(shape, dir, true)
	}
}

// absent keeps a name from being taken; false if it need not.
func (b *builder) absent(p string, g guarded) bool {
	if g.missing == skip || !b.host.Writable(path.Dir(p)) {
		return false // nor can the pen take it, which is the same user
	}
	if _, taken := b.at[p]; taken {
		return true
	}
	m := sandbox.Mount{Kind: sandbox.BlankDir, Target: p}
	switch g.missing {
	case scratch:
		m = sandbox.Mount{Kind: sandbox.Tmpfs, Target: p, Write: true, Size: scratchSize}
	case self:
		m = sandbox.Mount{Source: p, Target: p}
	}
	b.put(protect, m)
	b.plan.Placeholders = append(b.plan.Placeholders, sandbox.Placeholder{Path: p, Dir: g.missing != self, Content: []byte(g.content)})
	return true
}

// ignoreFiles keeps git in the pen from taking placeholders that are files, and
// what is written into scratch directories, for the user's: "git add -A" must
// not commit them.
func (b *builder) ignoreFiles(work string) {
	var names []string
	for _, p := range b.plan.Placeholders {
		if path.Dir(p.Path) == work && (!p.Dir || b.at[p.Path].Kind == sandbox.Tmpfs) {
			names = append(names, "/"+path.Base(p.Path))
		}
	}
	info := path.Join(b.commonDir(work), "info", "exclude")
	m, err := b.host.Lstat(info)
	if len(names) == 0 || err != nil || !m.IsRegular() || !b.writable(info) {
		// Without the file there is nothing to mount over. A commit of an empty
		// configuration file is the lesser evil than one that the host obeys.
		return
	}
	text, err := b.host.ReadFile(info)
	if err != nil {
		return
	}
	content := string(text)
	if content != "" && !strings.HasSuffix(content, "\n") {
		content += "\n"
	}
	b.plan.Files = append(b.plan.Files, sandbox.File{Target: info, Content: []byte(content + strings.Join(names, "\n") + "\n")})
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
