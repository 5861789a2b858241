package worktree

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/sandbox/shelf"
)

// Repository is the user's repository that a worktree is made of.
type Repository struct {
	Top     string // of the work tree that the session was started in
	Common  string // the repository's own directory, of all its work trees
	Base    string // the commit that HEAD names
	Branch  string // the branch that is checked out, without refs/heads/; "" if none is
	Changed int    // tracked files that differ from Base: they are not in a worktree

	gitDir  string // of this work tree: Common, or a directory in it
	format  string // of object ids: sha1 or sha256
	sparse  string // what is checked out, or "": everything
	cone    bool   // how sparse reads
	modules bool   // it has submodules

	settings map[string]string // its configuration, with the user's; of a key the last value
}

// Objects is the directory of the repository's objects.
func (r *Repository) Objects() string { return filepath.Join(r.Common, "objects") }

// Notes says what of the repository a worktree has not.
func (r *Repository) Notes() []string {
	var out []string
	if r.Changed > 0 {
		s := "s are"
		if r.Changed == 1 {
			s = " is"
		}
		out = append(out, fmt.Sprintf("the worktree begins at commit %.12s: %d changed file%s not in it", r.Base, r.Changed, s))
	}
	if r.modules {
		out = append(out, "the directories of submodules are empty in the worktree")
	}
	return out
}

// Inspect finds the repository that dir is in, and refuses one that can't have
// worktrees of ours. It changes nothing.
func (s *Store) Inspect(ctx context.Context, dir string) (*Repository, error) {
	if within(dir, s.Dir()) {
		return nil, refuse("start in the repository itself", "use a worktree of %s: it belongs to a worktree already", text.Escape(dir))
	}
	r := &Repository{}
	if err := s.locate(ctx, r, dir); err != nil {
		return nil, err
	}
	if within(s.Dir(), r.Top) {
		return nil, refuse("set XDG_STATE_HOME to a directory outside", "use a worktree of %s: Penstock keeps its worktrees in it, at %s", text.Escape(r.Top), text.Escape(s.Dir()))
	}
	for _, step := range []func(context.Context, *Repository) error{s.version, s.configure, s.head, s.storage, s.contents} {
		if err := step(ctx, r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// locate finds work tree and repository. A .git file is followed only if what
// it names points back, which nobody in a pen can write.
func (s *Store) locate(ctx context.Context, r *Repository, dir string) error {
	out, err := s.git.run(ctx, dir, "rev-parse", "--is-bare-repository", "--is-inside-work-tree", "--absolute-git-dir")
	if err != nil {
		return refuse("start in a git repository, or make one: git init", "use a worktree of %s: %w", text.Escape(dir), err)
	}
	words := strings.SplitN(string(out), "\n", 3)
	if len(words) != 3 {
		return fmt.Errorf("use a worktree of %s: git's answer is not understood", text.Escape(dir))
	}
	if words[0] == "true" {
		return refuse("clone it, and start in the clone", "use a worktree of %s: it is a bare repository, with no files", text.Escape(dir))
	}
	if words[1] != "true" {
		return refuse("start in the repository's files", "use a worktree of %s: it is not among the files of its repository", text.Escape(dir))
	}
	if r.gitDir, err = filepath.EvalSymlinks(strings.TrimSuffix(words[2], "\n")); err != nil {
		return fmt.Errorf("find the repository: %w", err)
	}
	if r.Top, err = s.git.line(ctx, dir, "rev-parse", "--show-toplevel"); err != nil {
		return err
	}
	if r.Top, err = filepath.EvalSymlinks(r.Top); err != nil {
		return fmt.Errorf("find the repository's files: %w", err)
	}
	elsewhere := refuse("leave --worktree out", "use a worktree of %s: its repository is kept elsewhere, at %s", text.Escape(r.Top), text.Escape(r.gitDir))
	dotgit := filepath.Join(r.Top, ".git")
	fi, err := os.Lstat(dotgit)
	switch {
	case err != nil:
		return elsewhere // core.worktree
	case fi.IsDir():
		if r.gitDir != dotgit {
			return elsewhere
		}
		r.Common = dotgit
		return s.ownObjects(r)
	case !fi.Mode().IsRegular():
		return elsewhere
	}
	back, err := readSmall(filepath.Join(r.gitDir, "gitdir"))
	if err != nil || filepath.Clean(strings.TrimSpace(string(back))) != dotgit {
		return elsewhere // a submodule, or made with --separate-git-dir
	}
	// As git lays linked worktrees out: COMMON/worktrees/NAME.
	r.Common = filepath.Dir(filepath.Dir(r.gitDir))
	if filepath.Join(r.Common, "worktrees", filepath.Base(r.gitDir)) != r.gitDir {
		return elsewhere
	}
	return s.ownObjects(r)
}

// ownObjects refuses what would show the pen other directories than this
// repository's objects: a tool that could write here before may have put a link
// or an alternate there.
func (s *Store) ownObjects(r *Repository) error {
	for _, d := range []string{r.Objects(), filepath.Join(r.Common, "refs")} {
		if fi, err := os.Lstat(d); err != nil || !fi.IsDir() {
			return refuse("look at what it is, and who made it so", "use a worktree of %s: %s is not a directory", text.Escape(r.Top), text.Escape(d))
		}
	}
	for _, name := range []string{"alternates", "http-alternates"} {
		if _, err := os.Lstat(filepath.Join(r.Objects(), "info", name)); err == nil {
			return refuse("copy them in: git repack -ad && rm .git/objects/info/"+name, "use a worktree of %s: it borrows objects from another repository (objects/info/%s)", text.Escape(r.Top), name)
		}
	}
	return nil
}

// The oldest git that does all that is asked of it (merge-tree --write-tree).
const oldestMajor, oldestMinor = 2, 38

// version refuses a git that would fail half-way.
func (s *Store) version(ctx context.Context, r *Repository) error {
	out, err := s.git.line(ctx, r.Top, "version")
	if err != nil {
		return err
	}
	var major, minor int
	if _, err := fmt.Sscanf(out, "git version %d.%d", &major, &minor); err != nil || major < oldestMajor || major == oldestMajor && minor < oldestMinor {
		return refuse("install a newer one", "use a worktree of %s: %s is %s, and %d.%d is needed", text.Escape(r.Top), s.git.path, text.Clip(out, 60), oldestMajor, oldestMinor)
	}
	return nil
}

// head finds the commit to begin from.
func (s *Store) head(ctx context.Context, r *Repository) error {
	branch, err := s.git.line(ctx, r.Top, "symbolic-ref", "-q", "HEAD")
	if err != nil && exitCode(err) != 1 {
		return err
	}
	r.Branch, _ = strings.CutPrefix(branch, "refs/heads/")
	r.Base, err = s.git.line(ctx, r.Top, "rev-parse", "--verify", "-q", "HEAD^{commit}")
	if err != nil {
		return refuse("commit something first: git commit --allow-empty -m begin", "use a worktree of %s: it has no commit yet", text.Escape(r.Top))
	}
	if !isID(r.Base) {
		return fmt.Errorf("use a worktree of %s: git's answer is not understood", text.Escape(r.Top))
	}
	status, err := s.git.run(ctx, r.Top, "status", "--porcelain=v1", "-z", "--untracked-files=no", "--ignore-submodules=all", "--no-renames")
	if err != nil {
		return err
	}
	r.Changed = bytes.Count(status, []byte{0})
	return nil
}

// storage looks at how objects are kept.
func (s *Store) storage(ctx context.Context, r *Repository) error {
	var err error
	if r.format, err = s.git.line(ctx, r.Top, "rev-parse", "--show-object-format"); err != nil {
		return err
	}
	for key := range r.settings {
		if key != "extensions.partialclone" && !(strings.HasPrefix(key, "remote.") && strings.HasSuffix(key, ".promisor")) {
			continue
		}
		return refuse("fetch all of it: git fetch --refetch --no-filter, or clone it without --filter", "use a worktree of %s: it is a partial clone, and the pen can't fetch what it lacks", text.Escape(r.Top))
	}
	if r.settings["core.sparsecheckout"] != "true" {
		return nil
	}
	b, err := readSmall(filepath.Join(r.gitDir, "info", "sparse-checkout"))
	if err != nil {
		return refuse("git sparse-checkout disable, or set", "use a worktree of %s: its sparse checkout has no patterns: %w", text.Escape(r.Top), err)
	}
	r.sparse, r.cone = string(b), r.settings["core.sparsecheckoutcone"] == "true"
	return nil
}

// contents looks at what of the commit needs more than git.
func (s *Store) contents(ctx context.Context, r *Repository) error {
	_, err := s.git.run(ctx, r.Top, "cat-file", "-e", r.Base+":.gitmodules")
	r.modules = err == nil
	where, err := s.git.line(ctx, r.Top, "grep", "--no-textconv", "-l", "--full-name", "-I", "-E", "-e", "(^|[[:space:]])filter=(lfs|git-crypt[a-z-]*)([[:space:]]|$)", r.Base, "--", ":(top,glob)**/.gitattributes")
	if err == nil {
		first, _, _ := strings.Cut(where, "\n")
		_, name, _ := strings.Cut(first, ":")
		return refuse("leave --worktree out: a pen's repository has neither their contents nor their keys", "use a worktree of %s: it keeps files in Git LFS or git-crypt (%s)", text.Escape(r.Top), text.Escape(name))
	}
	if exitCode(err) != 1 {
		return err
	}
	return nil
}

// configure reads the configuration that holds for the repository. Section and
// last part of a key are in lower case.
func (s *Store) configure(ctx context.Context, r *Repository) error {
	out, err := s.git.run(ctx, r.Top, "config", "-z", "--list")
	if err != nil {
		return err
	}
	r.settings = map[string]string{}
	for _, entry := range strings.Split(string(out), "\x00") {
		key, value, ok := strings.Cut(entry, "\n")
		if !ok {
			value = "true" // a key without a value
		}
		r.settings[key] = value
	}
	return nil
}

// isID says whether s is an object id in full.
func isID(s string) bool {
	if len(s) != 40 && len(s) != 64 {
		return false
	}
	return strings.Trim(s, "0123456789abcdef") == ""
}

// within says whether p is dir or below it.
func within(p, dir string) bool {
	rel, err := filepath.Rel(dir, p)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// maxSmall bounds the files that are read whole, in bytes.
const maxSmall = 1 << 20

// readSmall reads a regular file, not through a link and not a pipe.
func readSmall(name string) ([]byte, error) {
	fi, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxSmall {
		return nil, fmt.Errorf("%s: not a regular file of at most %d bytes", text.Escape(name), maxSmall)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSmall))
}

// template is the configuration of a pen's repository: of the user's own only
// what files and commits depend on, and where the remotes are.
func (r *Repository) template() string {
	var b strings.Builder
	version, ext := "0", ""
	if r.format != "sha1" {
		version, ext = "1", "[extensions]\n\tobjectFormat = "+r.format+"\n"
	}
	fmt.Fprintf(&b, "[core]\n\trepositoryformatversion = %s\n\tbare = false\n\tlogallrefupdates = true\n", version)
	for _, key := range []string{"filemode", "symlinks", "ignorecase", "precomposeunicode", "autocrlf", "eol", "safecrlf"} {
		if v, ok := r.settings["core."+key]; ok {
			fmt.Fprintf(&b, "\t%s = %s\n", key, quote(v))
		}
	}
	if r.sparse != "" {
		fmt.Fprintf(&b, "\tsparseCheckout = true\n\tsparseCheckoutCone = %s\n", strconv.FormatBool(r.cone))
	}
	b.WriteString(ext)
	for _, key := range []string{"name", "email"} {
		if v, ok := r.settings["user."+key]; ok {
			fmt.Fprintf(&b, "[user]\n\t%s = %s\n", key, quote(v))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.settings)) {
		name, ok := strings.CutPrefix(strings.TrimSuffix(key, ".url"), "remote.")
		address := withoutUser(r.settings[key])
		if ok && strings.HasSuffix(key, ".url") && address != "" && shelf.Slug(name) == name { // others would need quoting of their own
			fmt.Fprintf(&b, "[remote %q]\n\turl = %s\n\tfetch = +refs/heads/*:refs/remotes/%s/*\n", name, quote(address), name)
		}
	}
	return b.String()
}

// withoutUser takes passwords, and what else may be a credential, out of a URL.
// What is not understood is left out.
func withoutUser(address string) string {
	if !strings.Contains(address, "://") {
		return address // a path, or host:path of ssh
	}
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	if u.User != nil && u.Scheme == "ssh" {
		u.User = url.User(u.User.Username())
	} else {
		u.User = nil
	}
	u.RawQuery, u.Fragment = "", ""
	return u.String()
}

// quote writes a value of git-config(1).
func quote(v string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(v) + `"`
}
