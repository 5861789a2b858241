package workcopy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Kind is what an entry is.
type Kind byte

// Kinds of entries. Nothing else is copied.
const (
	Dir  Kind = 'd'
	File Kind = 'f'
	Link Kind = 'l'
)

// Entry is one name in a tree.
type Entry struct {
	Path  string   `json:"path"` // relative, slashes, the bytes of the name
	Kind  Kind     `json:"-"`
	Mode  uint32   `json:"mode"` // permission bits, 0 for links
	Size  int64    `json:"size"` // of a file, in bytes
	MTime int64    `json:"-"`    // nanoseconds since 1970; nothing is compared by it
	Hash  [32]byte `json:"-"`    // SHA-256 of a file's content
	Text  string   `json:"link,omitempty"`
}

// same says whether two entries of one path have the same kind, mode and content.
func (e *Entry) same(o *Entry) bool {
	if e == nil || o == nil {
		return e == o
	}
	return e.sameContent(o) && e.Mode == o.Mode
}

func (e *Entry) sameContent(o *Entry) bool {
	return e.Kind == o.Kind && e.Size == o.Size && e.Hash == o.Hash && e.Text == o.Text
}

// Manifest is what a copy was when it was made. It belongs where the guest can't write.
type Manifest struct {
	// Protect and Hide are paths in the work directory that are not brought back; what
	// is hidden isn't copied either. See layout.Plan.
	Protect, Hide []string
	Entries       []Entry // sorted by path
}

// Limits bound a tree. Zero means the default.
type Limits struct {
	Entries int   // 500,000
	Bytes   int64 // of all files' sizes: 16 GiB
	File    int64 // of one: 4 GiB
	Depth   int   // of directories: 128
}

func (l Limits) orDefault() Limits {
	if l.Entries == 0 {
		l.Entries = 500_000
	}
	if l.Bytes == 0 {
		l.Bytes = 16 << 30
	}
	if l.File == 0 {
		l.File = 4 << 30
	}
	if l.Depth == 0 {
		l.Depth = 128
	}
	return l
}

const header = "penstock work copy 1"

// Encode writes a manifest: a line each, names quoted, and a last line with the number
// of them and the SHA-256 of all before it, so that half of one is none.
func (m *Manifest) Encode() []byte {
	b := append(make([]byte, 0, 64+160*len(m.Entries)), header+"\n"...)
	list := func(kind byte, names []string) {
		for _, n := range names {
			b = append(b, kind, ' ')
			b = append(strconv.AppendQuoteToASCII(b, n), '\n')
		}
	}
	list('p', m.Protect)
	list('h', m.Hide)
	for i := range m.Entries {
		e := &m.Entries[i]
		b = append(b, byte(e.Kind), ' ')
		b = append(strconv.AppendInt(b, e.MTime, 10), ' ')
		if e.Kind != Link {
			b = append(strconv.AppendUint(b, uint64(e.Mode), 8), ' ')
		}
		if e.Kind == File {
			b = append(strconv.AppendInt(b, e.Size, 10), ' ')
			b = append(hex.AppendEncode(b, e.Hash[:]), ' ')
		}
		b = strconv.AppendQuoteToASCII(b, e.Path)
		if e.Kind == Link {
			b = append(b, ' ')
			b = strconv.AppendQuoteToASCII(b, e.Text)
		}
		b = append(b, '\n')
	}
	return append(b, last(b, len(m.Entries))...)
}

func last(b []byte, n int) string {
	sum := sha256.Sum256(b)
	return fmt.Sprintf("end %d %x\n", n, sum)
}

// Decode reads what Encode wrote and nothing else.
func Decode(b []byte) (*Manifest, error) {
	text := string(b)
	at := strings.LastIndex(strings.TrimSuffix(text, "\n"), "\n") + 1
	if !strings.HasPrefix(text, header+"\n") || at == 0 {
		return nil, errors.New("read manifest: it is none of this version")
	}
	m := &Manifest{}
	kinds := map[string]Kind{}
	for n, line := range strings.Split(strings.TrimSuffix(text[len(header)+1:max(at, len(header)+1)], "\n"), "\n") {
		if line == "" && at == len(header)+1 {
			break
		}
		if err := m.line(line, kinds); err != nil {
			return nil, fmt.Errorf("read manifest: line %d: %w", n+2, err)
		}
	}
	if text[at:] != last(b[:at], len(m.Entries)) {
		return nil, errors.New("read manifest: its last line does not fit the others: it is not whole, or was changed")
	}
	// One form only: what is quoted in another way, or a number with a plus.
	if string(m.Encode()) != text {
		return nil, errors.New("read manifest: it is not in the form that is written")
	}
	return m, nil
}

// line takes in one line; kinds are those before.
func (m *Manifest) line(line string, kinds map[string]Kind) error {
	bad := errors.New("it is not understood")
	kind, rest, _ := strings.Cut(line, " ")
	number := func(base int) (n int64) {
		field, more, ok := strings.Cut(rest, " ")
		n, err := strconv.ParseInt(field, base, 64)
		if !ok || err != nil {
			rest = ""
		} else {
			rest = more
		}
		return n
	}
	e := Entry{}
	switch kind {
	case "p", "h":
		name, err := strconv.Unquote(rest)
		if err != nil || !plainPath(name) || len(m.Entries) > 0 {
			return bad
		}
		if kind == "p" {
			m.Protect = append(m.Protect, name)
		} else {
			m.Hide = append(m.Hide, name)
		}
		return nil
	case "d", "f", "l":
		e.Kind = Kind(kind[0])
	default:
		return bad
	}
	e.MTime = number(10)
	if e.Kind != Link {
		mode := number(8)
		if mode < 0 || mode > 0o777 {
			return errors.New("its mode has more than permissions")
		}
		e.Mode = uint32(mode)
	}
	if e.Kind == File {
		e.Size = number(10)
		sum, more, _ := strings.Cut(rest, " ")
		if rest = more; e.Size < 0 || len(sum) != 2*len(e.Hash) {
			return bad
		}
		if _, err := hex.Decode(e.Hash[:], []byte(sum)); err != nil {
			return bad
		}
	}
	quoted, err := strconv.QuotedPrefix(rest)
	if err != nil {
		return bad
	}
	rest = rest[len(quoted):]
	if e.Path, err = strconv.Unquote(quoted); err != nil {
		return bad
	}
	if e.Kind == Link {
		if e.Text, err = strconv.Unquote(strings.TrimPrefix(rest, " ")); err != nil || e.Text == "" || strings.Contains(e.Text, "\x00") {
			return bad
		}
		rest = ""
	}
	if rest != "" {
		return bad
	}
	if !plainPath(e.Path) {
		return errors.New("its path is not one below the work directory")
	}
	if n := len(m.Entries); n > 0 && m.Entries[n-1].Path >= e.Path {
		return errors.New("its path is there twice, or out of order")
	}
	if up := path.Dir(e.Path); up != "." && kinds[up] != Dir {
		return errors.New("its directory is not there")
	}
	kinds[e.Path] = e.Kind
	m.Entries = append(m.Entries, e)
	return nil
}

// find returns the entry of a path, or nil.
func (m *Manifest) find(p string) *Entry {
	i, ok := slices.BinarySearchFunc(m.Entries, p, func(e Entry, p string) int { return strings.Compare(e.Path, p) })
	if !ok {
		return nil
	}
	return &m.Entries[i]
}

// Bounds of the kernel: PATH_MAX and NAME_MAX, limits.h(0p).
const (
	maxPath = 4095
	maxName = 255
)

// plainPath says whether a path leads to below where it begins, in one way of writing it.
func plainPath(p string) bool {
	if p == "" || len(p) > maxPath {
		return false
	}
	for _, n := range strings.Split(p, "/") {
		if !plainName(n) {
			return false
		}
	}
	return true
}

func plainName(n string) bool {
	return n != "" && n != "." && n != ".." && len(n) <= maxName && !strings.ContainsAny(n, "/\x00")
}
