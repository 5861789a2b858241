package worktree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/sandbox/shelf"
)

// Where the pen has its repository and, read-only, the objects of the main one.
const (
	GitPath     = "/run/penstock/git"
	ObjectsPath = "/run/penstock/objects"
)

// dotgit leads git in the pen to its repository. On the host it leads nowhere,
// so git finds no repository there, whatever else the tree has.
const dotgit = "gitdir: " + GitPath + "\n"

// Create makes a worktree. A wanted name is slugged, and gets a number if it is
// taken; without one the name is made from the command's. The caller closes or
// removes what is returned.
func (s *Store) Create(ctx context.Context, r *Repository, wanted, command string) (_ *Held, err error) {
	name := shelf.Slug(wanted)
	switch {
	case wanted == "":
		name = shelf.FreshName(command, "tree")
	case name == "":
		return nil, refuse("use letters and digits", "name the worktree %q: nothing of it can stand in a branch's name", text.Escape(wanted))
	}
	if s.bwrap == "" {
		return nil, refuse("apt-get install bubblewrap", "make a worktree: git is run in a closed pen for it, and there is no bubblewrap")
	}
	h := &Held{store: s}
	h.Worktree = Worktree{Version: 1, Repository: r.Top, Common: r.Common, Base: r.Base, Onto: r.Branch, Created: time.Now().UTC()}
	if err := h.register(place(r.Common), name); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.Close()
		}
	}()
	// The branch keeps the name, and the base from being collected as garbage.
	err = h.reserve(ctx)
	if err == nil {
		err = h.prepare(ctx, r)
	}
	if err == nil {
		err = h.checkOut(ctx)
	}
	if err == nil {
		h.Ready = true
		err = writeMeta(h.root, h.ID, &h.Worktree)
	}
	if err != nil {
		// Not with a context that may be why.
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if _, rerr := h.Remove(undo, false); rerr != nil {
			err = errors.Join(err, rerr)
		}
		return nil, err
	}
	return h, nil
}

// register makes the directory, which is there with its registration and its
// lock held or not at all.
func (h *Held) register(project, name string) (err error) {
	h.item, err = h.store.Add(project, name, func(item *shelf.Held, name, dir string) (bool, error) {
		h.Name, h.ID, h.Branch = name, item.ID, BranchPrefix+name
		if taken, err := h.taken(); err != nil || taken {
			return taken, err
		}
		return false, writeMeta(item.Root, dir, &h.Worktree)
	})
	switch {
	case errors.Is(err, shelf.ErrTaken):
		return refuse("give another name, or remove some: penstock worktree rm", "name the worktree %s: %w", name, err)
	case err != nil:
		return fmt.Errorf("make the worktree's directory: %w", err)
	}
	h.root = h.item.Root
	return nil
}

// taken says whether the name has a branch that the user keeps.
func (h *Held) taken() (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	at, err := h.branchCommit(ctx)
	return at != "", err
}

// reserve makes the branch. It must not be there: an empty old value says so.
func (h *Held) reserve(ctx context.Context) error {
	_, err := h.store.git.run(ctx, h.Repository, "update-ref", "--no-deref", "-m", "penstock: new worktree", "refs/heads/"+h.Branch, h.Base, strings.Repeat("0", len(h.Base)))
	if err == nil {
		return nil
	}
	// refs/heads/penstock can't be a file and a directory.
	if at, e := h.store.git.line(ctx, h.Repository, "rev-parse", "--verify", "-q", "refs/heads/"+strings.TrimSuffix(BranchPrefix, "/")); e == nil && at != "" {
		return refuse("rename it: git branch -m penstock another-name", "make branch %s: a branch is called penstock, and a branch can't be in another", h.Branch)
	}
	return err
}

// prepare writes the pen's repository, as gitrepository-layout(5) has it. No
// template, no hook.
func (h *Held) prepare(ctx context.Context, r *Repository) error {
	config := r.template()
	refs, err := h.store.git.run(ctx, r.Top, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/remotes", "refs/tags")
	if err != nil {
		return err
	}
	// Copies, as the branches are now. Those of other worktrees are not this
	// one's business.
	var packed strings.Builder
	for _, l := range strings.SplitAfter(string(refs), "\n") {
		if !strings.Contains(l, " refs/heads/"+BranchPrefix) {
			packed.WriteString(l)
		}
	}
	fmt.Fprintf(&packed, "%s refs/heads/%s\n", h.Base, h.Branch)
	own := map[string]string{"config": config, "info/exclude": h.store.ignored(ctx, r)}
	if r.sparse != "" {
		own["info/sparse-checkout"] = r.sparse
	}
	files := map[string]string{
		gitDir + "/HEAD":                    "ref: refs/heads/" + h.Branch + "\n",
		gitDir + "/packed-refs":             packed.String(),
		gitDir + "/objects/info/alternates": ObjectsPath + "\n",
		treeDir + "/.git":                   dotgit,
	}
	for name, content := range own {
		files[ownDir+"/"+name], files[gitDir+"/"+name] = content, content
	}
	if b, err := readSmall(filepath.Join(r.Common, "shallow")); err == nil {
		files[gitDir+"/shallow"] = string(b)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("use a worktree of a shallow clone: %w", err)
	}
	for _, d := range []string{treeDir, ownDir, ownDir + "/info", gitDir, gitDir + "/info", gitDir + "/objects", gitDir + "/objects/info", gitDir + "/objects/pack", gitDir + "/refs", gitDir + "/refs/heads", gitDir + "/refs/tags"} {
		if err := h.root.Mkdir(h.ID+"/"+d, 0o700); err != nil {
			return fmt.Errorf("make the pen's repository: %w", err)
		}
	}
	for name, content := range files {
		if err := h.root.WriteFile(h.ID+"/"+name, []byte(content), 0o600); err != nil {
			return fmt.Errorf("make the pen's repository: %w", err)
		}
	}
	return nil
}

// ignored is what the user's git ignores everywhere and in this repository: else
// an editor's files would be taken for the tool's work.
func (s *Store) ignored(ctx context.Context, r *Repository) string {
	var b strings.Builder
	files := []string{filepath.Join(r.Common, "info", "exclude")}
	if p, err := s.git.line(ctx, r.Top, "config", "--type=path", "--get", "core.excludesFile"); err == nil {
		files = append(files, p)
	} else {
		for _, e := range s.git.env {
			if home, ok := strings.CutPrefix(e, "HOME="); ok {
				files = append(files, filepath.Join(home, ".config", "git", "ignore"))
			}
		}
	}
	for _, f := range files {
		if text, err := readSmall(f); err == nil {
			b.Write(text)
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// place is the directory of a repository's worktrees.
func place(common string) string {
	dir := common
	if filepath.Base(dir) == ".git" {
		dir = filepath.Dir(dir)
	}
	return shelf.Project(dir, common, "repository")
}
