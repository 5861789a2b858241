package layout

import (
	"io/fs"
	"path"
	"strings"
)

// maxModules bounds how many submodules and worktrees are protected; each costs
// mounts. More are said.
const maxModules = 32

// gitNames are protected names that depend on the repository in dir: hooks
// directories and included files that its configuration names, submodules,
// other worktrees. If .git is a file, the repository it names is granted.
func (b *builder) gitNames(dir string) []guarded {
	git := path.Join(dir, ".git")
	m, err := b.lstat(git)
	if err != nil || m&fs.ModeSymlink != 0 {
		return nil
	}
	if m.IsRegular() {
		if b.in.Tree != "" && within(dir, b.in.Work) {
			// What it names is the host's own, and a copy changes nothing of that.
			b.warn("%s names a repository elsewhere, which a copy of the work directory has no access to: git will not work in the pen", git)
		} else {
			b.worktree(dir, git)
		}
		return []guarded{{name: ".git"}}
	}
	var out []guarded
	out = append(out, b.configured(dir, path.Join(git, "config"))...)
	for _, sub := range b.modules(git) {
		rel := strings.TrimPrefix(sub, dir+"/")
		out = append(out,
			guarded{name: rel + "/hooks"}, guarded{name: rel + "/config"}, guarded{name: rel + "/commondir"})
	}
	if names, err := b.host.ReadDir(path.Join(git, "worktrees")); err == nil {
		for i, n := range names {
			if i == maxModules {
				b.warn("%s has more than %d worktrees: the others' configuration is not protected", dir, maxModules)
				break
			}
			rel := ".git/worktrees/" + n
			out = append(out, guarded{name: rel + "/commondir"}, guarded{name: rel + "/gitdir"}, guarded{name: rel + "/config.worktree"})
		}
	}
	return out
}

// modules finds the repositories of submodules, which have hooks of their own.
func (b *builder) modules(git string) (out []string) {
	var walk func(dir string, depth int)
	walk = func(dir string, depth int) {
		names, err := b.host.ReadDir(dir)
		if err != nil || depth > 4 {
			return
		}
		for _, n := range names {
			p := path.Join(dir, n)
			if !b.isDir(p) {
				continue
			}
			if len(out) == maxModules {
				return
			}
			if m, err := b.host.Lstat(path.Join(p, "HEAD")); err == nil && m.IsRegular() {
				out = append(out, p)
				walk(path.Join(p, "modules"), depth+1)
				continue
			}
			walk(p, depth+1) // a submodule's name may have slashes
		}
	}
	walk(path.Join(git, "modules"), 0)
	if len(out) == maxModules {
		b.warn("%s has %d or more submodules: not all of their hooks are protected", path.Dir(git), maxModules)
	}
	return out
}

// configured reads from a git configuration which other files inside dir the
// host would execute or obey: core.hooksPath, include.path. It is no full
// parser: what it does not understand it leaves alone.
func (b *builder) configured(dir, config string) (out []guarded) {
	text, err := b.host.ReadFile(config)
	if err != nil {
		return nil
	}
	for _, line := range strings.Split(string(text), "\n") {
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.Trim(strings.TrimSpace(value), `"`)
		g := guarded{missing: blank}
		var p string
		switch key {
		case "hookspath":
			p = path.Join(dir, value) // relative to the work tree
		case "path", "attributesfile", "excludesfile":
			p = path.Join(path.Dir(config), value) // relative to the file
			if key != "path" {
				p = path.Join(dir, value)
			}
		default:
			continue
		}
		if path.IsAbs(value) {
			p = path.Clean(value)
		}
		if p != dir && within(p, dir) {
			g.name = strings.TrimPrefix(p, dir+"/")
			out = append(out, g)
		}
	}
	return out
}

// worktree grants the repository of a linked worktree, so that git works. The
// .git file can be written by whoever could write the work directory before, so
// it counts only if the place it names points back to it, which git itself
// writes and nobody in a pen can.
func (b *builder) worktree(dir, git string) {
	text, err := b.host.ReadFile(git)
	if err != nil {
		return
	}
	named, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "gitdir:")
	if !ok {
		return
	}
	gitdir := strings.TrimSpace(named)
	if !path.IsAbs(gitdir) {
		gitdir = path.Join(dir, gitdir)
	}
	gitdir, m, ok := b.resolve(gitdir)
	if !ok || !m.IsDir() || b.visible(gitdir) {
		return
	}
	back, err := b.host.ReadFile(path.Join(gitdir, "gitdir"))
	if err != nil || path.Clean(strings.TrimSpace(string(back))) != git {
		b.warn("%s names %s as its repository, which does not point back: git will not work in the pen", git, gitdir)
		return
	}
	common := gitdir
	if text, err := b.host.ReadFile(path.Join(gitdir, "commondir")); err == nil {
		common = strings.TrimSpace(string(text))
		if !path.IsAbs(common) {
			common = path.Join(gitdir, common)
		}
	}
	common, m, ok = b.resolve(common)
	if !ok || !m.IsDir() || forbidden(common) != "" || within(b.plan.Home, common) {
		return
	}
	if !b.isDir(path.Join(common, "objects")) || !b.isDir(path.Join(common, "refs")) {
		return
	}
	b.bind(write, common, true)
	b.common = common
	for _, g := range []guarded{
		{name: "hooks", missing: blank}, {name: "config", missing: blank},
		{name: "config.worktree"}, {name: "commondir", missing: self, content: here},
	} {
		b.guard(path.Join(common, g.name), g)
	}
	for _, n := range []string{"gitdir", "commondir", "config.worktree"} {
		b.guard(path.Join(gitdir, n), guarded{name: n})
	}
}

// commonDir is where the repository of work keeps what its worktrees share.
func (b *builder) commonDir(work string) string {
	if b.common != "" {
		return b.common
	}
	return path.Join(work, ".git")
}
