package worktree

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/text"
)

// Where the pen has its repository and, read-only, the objects of the main one.
const (
	GitPath     = "/run/penstock/git"
	ObjectsPath = "/run/penstock/objects"
)

// dotgit leads git in the pen to its repository. On the host it leads nowhere,
// so git finds no repository there, whatever else the tree has.
const dotgit = "gitdir: " + GitPath + "\n"

// maxTries bounds the numbers that are added to a name that is taken.
const maxTries = 100

// Create makes a worktree. A wanted name is slugged, and gets a number if it is
// taken; without one the name is made from the command's. The caller closes or
// removes what is returned.
func (s *Store) Create(ctx context.Context, r *Repository, wanted, command string) (_ *Held, err error) {
	name := Slug(wanted)
	switch {
	case wanted == "":
		name = freshName(command)
	case name == "":
		return nil, refuse("use letters and digits", "name the worktree %q: nothing of it can stand in a branch's name", text.Escape(wanted))
	}
	if s.bwrap == "" {
		return nil, refuse("apt-get install bubblewrap", "make a worktree: git is run in a closed pen for it, and there is no bubblewrap")
	}
	root, err := s.root(true)
	if err != nil {
		return nil, err
	}
	h := &Held{store: s, root: root}
	defer func() {
		if err != nil {
			h.Close()
		}
	}()
	project := place(r.Common)
	h.Worktree = Worktree{Version: 1, Repository: r.Top, Common: r.Common, Base: r.Base, Onto: r.Branch, Created: time.Now().UTC()}
	if err := h.register(project, name); err != nil {
		return nil, err
	}
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
		err = writeMeta(root, h.ID, &h.Worktree)
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
func (h *Held) register(project, name string) error {
	fresh, err := h.fresh(project)
	if err != nil {
		return fmt.Errorf("make the worktree's directory: %w", err)
	}
	defer sweepNew(h.root, fresh)
	for i := 1; i <= maxTries; i++ {
		h.Name = name
		if i > 1 {
			h.Name = fmt.Sprintf("%s-%d", strings.TrimRight(name[:min(len(name), maxName-4)], "-._"), i)
		}
		h.ID, h.Branch = project+"/"+h.Name, BranchPrefix+h.Name
		if taken, err := h.taken(); err != nil || taken {
			if err != nil {
				return err
			}
			continue
		}
		if err := writeMeta(h.root, fresh, &h.Worktree); err != nil {
			return err
		}
		// A directory is not renamed over one that has something in it.
		err := h.root.Rename(fresh, h.ID)
		if err == nil {
			return nil
		}
		if _, lerr := h.root.Lstat(h.ID); lerr != nil {
			return fmt.Errorf("make the worktree's directory: %w", err)
		}
	}
	return refuse("give another name, or remove some: penstock worktree rm", "name the worktree %s: it is taken, and so are %d others like it", name, maxTries-1)
}

// fresh makes a directory with its lock held. Before it has one, others would take
// it for what a killed process left, and the project's directory for an empty one.
func (h *Held) fresh(project string) (string, error) {
	whole, err := lockStore(h.root)
	if err != nil {
		return "", err
	}
	defer whole.Close()
	if err := h.root.Mkdir(project, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	fresh := project + "/" + newPrefix + rand.Text()
	if err := h.root.Mkdir(fresh, 0o700); err != nil {
		return "", err
	}
	h.lock, err = lock(h.root, fresh, true)
	return fresh, err
}

func sweepNew(root *os.Root, fresh string) {
	if _, err := root.Lstat(fresh); err == nil {
		removeAll(root, fresh) //nolint:errcheck // swept when worktrees are listed next
	}
}

// taken says whether the name has a directory, or a branch that the user keeps.
func (h *Held) taken() (bool, error) {
	if _, err := h.root.Lstat(h.ID); err == nil {
		return true, nil
	}
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
