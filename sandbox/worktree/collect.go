package worktree

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/penstock/penstock/internal/text"
)

// checkOutScript fills the tree from the base. What it reads is the user's own.
const checkOutScript = `
export GIT_DIR=/run/penstock/git GIT_WORK_TREE=/run/penstock/tree
git read-tree --reset -u HEAD
`

// checkOut fills the tree.
func (h *Held) checkOut(ctx context.Context) error {
	return h.closed(true).run(ctx, "check out the worktree", checkOutScript, io.Discard)
}

// collectScript prints what the tool made: the commit that is checked out, the
// commit with what was not committed, what can't be taken along, each followed
// by NUL; an empty one; a pack.
//
// The tool's repository is asked for HEAD and for its branches only. All else is
// done in a repository of the script's own, which borrows the tool's objects.
// The tool's index is only a hint of what did not change; without a usable one
// each file is read. It keeps its time: by that git knows which files may have
// changed since without looking it (git's racy-git.txt). Nested repositories would become links to commits that
// nobody else has: they are named and left out.
const collectScript = `
tool() { git --git-dir=/run/penstock/git -c core.fsmonitor=false -c core.hooksPath=/dev/null "$@"; }
tip=$(tool rev-parse --verify -q 'HEAD^{commit}') || tip=$BASE
mkdir -p own/objects/info own/refs
cp -R /run/penstock/own/. own
echo 'ref: refs/heads/none' >own/HEAD
printf '%s\n' /run/penstock/git/objects /run/penstock/objects >own/objects/info/alternates
cp /run/penstock/git/shallow own/shallow 2>/dev/null || :
cp -p /run/penstock/git/index own/index 2>/dev/null || :
export GIT_DIR=/tmp/own GIT_WORK_TREE=/run/penstock/tree
cd "$GIT_WORK_TREE"
{ test -f /tmp/own/index && git ls-files -z >/tmp/listed 2>/dev/null; } || { rm -f /tmp/own/index; git read-tree "$tip"; }
git diff-files --name-only --ignore-submodules=dirty --no-ext-diff --no-textconv -z >/tmp/changed
git ls-files -z --others --exclude-standard >/tmp/others
grep -z '/$' /tmp/others >/tmp/nested || :
{ cat /tmp/changed; grep -zv '/$' /tmp/others || :; } | git update-index -z --add --remove --replace --stdin
tree=$(git write-tree)
snap=$tip
if [ "$tree" != "$(git rev-parse "$tip^{tree}")" ]; then
	snap=$(git commit-tree -p "$tip" -m "What was not committed of $BRANCH" "$tree")
fi
printf '%s\0%s\0' "$tip" "$snap"
sed -z 's/^/nested /' /tmp/nested
tool for-each-ref --format='branch %(refname:short)' --no-merged="$tip" refs/heads 2>/dev/null | tr '\n' '\0'
printf '\0'
printf '%s\n^%s\n' "$snap" "$BASE" | git pack-objects --revs --stdout -q --delta-base-offset --threads=1
`

// maxPack bounds what one worktree brings in, in bytes as they are packed.
const maxPack = 4 << 30

// Collect brings in what the tool made, onto the worktree's branch. It may be done
// again, also after it was interrupted.
func (h *Held) Collect(ctx context.Context) error {
	if h.store.bwrap == "" {
		return refuse("apt-get install bubblewrap", "bring in %s: git reads it in a closed pen, and there is no bubblewrap", h.Branch)
	}
	if !h.Ready {
		return refuse("penstock worktree rm "+h.ID, "bring in %s: the worktree was never finished", h.Branch)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := h.closed(false).run(ctx, "read the worktree", collectScript, w)
		w.CloseWithError(err)
		ended <- err
	}()
	m, err := h.take(ctx, bufio.NewReader(r))
	if err != nil {
		cancel(err)
		r.CloseWithError(err)
	} else if _, err = io.Copy(io.Discard, r); err == nil { // its end says how it went
		err = h.land(ctx, m)
	}
	if cerr := <-ended; cerr != nil && !errors.Is(cerr, err) && context.Cause(ctx) == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("bring in %s: %w", h.Branch, err)
	}
	h.Bringing, h.Tip, h.Snapshot, h.Nested, h.Branches = "", m.tip, m.snapshot, m.nested, m.branches
	return writeMeta(h.root, h.ID, &h.Worktree)
}

// take reads the script's answer and gives the pack to the repository.
func (h *Held) take(ctx context.Context, r *bufio.Reader) (*made, error) {
	m, err := parseMade(r, len(h.Base))
	if err != nil {
		return nil, err
	}
	if m.snapshot == h.Base {
		return m, nil
	}
	// --strict: hashes, forms, links, .gitmodules. What is refused is not there.
	_, err = h.store.git.feed(ctx, h.dir(), r, "index-pack", "--stdin", "--strict", "--max-input-size="+strconv.Itoa(maxPack))
	if err != nil {
		return nil, err
	}
	return m, nil
}

// land moves the branch to what was brought in, once all of that is there.
func (h *Held) land(ctx context.Context, m *made) error {
	g := h.store.git
	for _, id := range []string{m.tip, m.snapshot} {
		if kind, err := g.line(ctx, h.dir(), "cat-file", "-t", id); err != nil || kind != "commit" {
			return fmt.Errorf("%s is no commit of what the pen handed out", id)
		}
	}
	if m.tip != m.snapshot {
		parents, err := g.line(ctx, h.dir(), "rev-parse", m.snapshot+"^@")
		if err != nil || parents != m.tip {
			return errors.New("the commit of what was not committed does not follow the last one")
		}
	}
	if _, err := g.run(ctx, h.dir(), "rev-list", "--objects", "--quiet", m.snapshot, "^"+h.Base); err != nil {
		return fmt.Errorf("something of its history is missing: %w", err)
	}
	at, err := h.branchCommit(ctx)
	if err != nil || at == m.snapshot {
		return err
	}
	if at != "" && !h.ours(at) {
		return refuse("rename it, if what it has is to stay: git branch -m "+h.Branch+" another-name", "branch %s was moved meanwhile", h.Branch)
	}
	h.Bringing = m.snapshot
	if err := writeMeta(h.root, h.ID, &h.Worktree); err != nil {
		return err
	}
	if at == "" {
		at = strings.Repeat("0", len(h.Base))
	}
	_, err = g.run(ctx, h.dir(), "update-ref", "--no-deref", "-m", "penstock: from the worktree", "refs/heads/"+h.Branch, m.snapshot, at)
	return err
}

// Bounds of what is read of the script's answer.
const (
	maxWord  = 8 << 10
	maxWords = 200
)

// made is what a session made of its worktree; see Worktree.
type made struct {
	tip, snapshot    string
	nested, branches []string
}

// parseMade reads the head of the script's answer, all of which the tool may have
// chosen. The pack begins where it ends.
func parseMade(r *bufio.Reader, idLen int) (*made, error) {
	var words []string
	for {
		w, err := word(r)
		if err != nil {
			return nil, err
		}
		if w == "" && len(words) >= 2 {
			break
		}
		if len(words) < maxWords+2 { // more are not told
			words = append(words, w)
		}
	}
	m := &made{tip: words[0], snapshot: words[1]}
	for _, id := range words[:2] {
		if !isID(id) || len(id) != idLen {
			return nil, fmt.Errorf("read the worktree: %q is no commit", text.Clip(id, 80))
		}
	}
	for _, w := range words[2:] {
		kind, name, _ := strings.Cut(w, " ")
		switch kind {
		case "nested":
			m.nested = append(m.nested, strings.TrimSuffix(name, "/"))
		case "branch":
			m.branches = append(m.branches, name)
		default:
			return nil, errors.New("read the worktree: the answer is not understood")
		}
	}
	return m, nil
}

// word reads up to NUL.
func word(r *bufio.Reader) (string, error) {
	var b bytes.Buffer
	for {
		c, err := r.ReadByte()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return "", err
		}
		if c == 0 {
			return b.String(), nil
		}
		if b.Len() == maxWord {
			return "", errors.New("read the worktree: a name has no end")
		}
		b.WriteByte(c)
	}
}
