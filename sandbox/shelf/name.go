package shelf

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"
)

// maxName bounds a slug, in bytes: lock files and reflogs add to it.
const maxName = 48

// Slug makes a name of a directory, which can be one of a branch, out of what
// somebody typed: lower-case letters, digits and single hyphens, dots or underscores
// between them. It is "" if nothing is left. Slug of a slug is the same.
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

// FreshName makes a readable name that is most likely new: that of the command
// with four random letters.
func FreshName(command, fallback string) string {
	base := Slug(filepath.Base(command))
	if len(base) > 24 {
		base = Slug(base[:24])
	}
	if base == "" {
		base = fallback
	}
	return base + "-" + strings.ToLower(rand.Text()[:4])
}

// Project is the directory of what belongs to one place of the host's: readable,
// with the name of dir, and one for each id.
func Project(dir, id, fallback string) string {
	base := Slug(filepath.Base(dir))
	if base == "" {
		base = fallback
	}
	sum := sha256.Sum256([]byte(id))
	return base + "-" + hex.EncodeToString(sum[:4])
}
