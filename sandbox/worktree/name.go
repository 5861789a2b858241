package worktree

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"
)

// BranchPrefix is what the name of each worktree's branch begins with.
const BranchPrefix = "penstock/"

// maxName bounds a slug, in bytes: lock files and reflogs add to it.
const maxName = 48

// Slug makes a name of a directory and a branch out of what somebody typed:
// lower-case letters, digits and single hyphens, dots or underscores between
// them. It is "" if nothing is left. Slug of a slug is the same.
func Slug(s string) string {
	var b strings.Builder
	gap := byte(0)
	for _, r := range strings.ToLower(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			if gap != 0 && b.Len() > 0 {
				b.WriteByte(gap)
			}
			gap = 0
			b.WriteByte(byte(r))
		case gap == 0 && (r == '.' || r == '_'):
			gap = byte(r)
		default:
			gap = '-'
		}
		if b.Len() >= maxName {
			break
		}
	}
	name := strings.TrimRight(b.String()[:min(b.Len(), maxName)], "-._")
	// git-check-ref-format(1): no component ends in .lock.
	for strings.HasSuffix(name, ".lock") {
		name = strings.TrimSuffix(name, ".lock")
	}
	return name
}

// freshName makes a readable name that is most likely new: that of the command
// with four random letters.
func freshName(command string) string {
	base := Slug(filepath.Base(command))
	if len(base) > 24 {
		base = Slug(base[:24])
	}
	if base == "" {
		base = "tree"
	}
	return base + "-" + strings.ToLower(rand.Text()[:4])
}

// place is the directory of a repository's worktrees below the root: readable,
// and one for each repository.
func place(common string) string {
	dir := common
	if filepath.Base(dir) == ".git" {
		dir = filepath.Dir(dir)
	}
	base := Slug(filepath.Base(dir))
	if base == "" {
		base = "repository"
	}
	sum := sha256.Sum256([]byte(common))
	return base + "-" + hex.EncodeToString(sum[:4])
}
