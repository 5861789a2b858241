package speech

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"crypto/sha1" //nolint:gosec // the object ids of git are SHA-1
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// Bounds of what is read of a pack (gitformat-pack(5)) to find commits in it. git
// writes them first.
const (
	MaxPack     = 16 << 20 // bytes of the request that are held until it is judged
	maxInflated = 64 << 20 // bytes that come out of them
	maxCommit   = 1 << 20
	maxKept     = 32 << 20 // bytes of commits that deltas may be made from
)

// counted knows how far it was read.
type counted struct {
	r *bufio.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// ReadByte keeps inflate from reading further than an object's end.
func (c *counted) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

// pack is the pack of a push, read as far as its commits are asked for.
type pack struct {
	r     *counted
	ids   int   // bytes of an object id
	start int64 // where the pack begins
	left  uint32

	began, done bool
	why         string // why no more of it is read
	inflated    int64
	kept        int64
	parents     map[string][]string // of each commit found, in hexadecimal
	byOffset    map[int64][]byte    // contents of commits
	byID        map[string][]byte
	zlib        io.ReadCloser
}

// descends says why the commits of the pack do not show that one commit has
// another in its history, "" if they do.
func (p *pack) descends(old, tip string) string {
	if !p.began {
		p.begin()
	}
	// git writes all commits of a push first; other writers may not.
	for first := true; ; {
		commit := p.next()
		if first && !commit || p.done {
			first = false
			if p.reaches(old, tip) {
				return ""
			}
		}
		if p.done {
			break
		}
	}
	if p.parents[tip] == nil && p.why == "" {
		return "the new commit is not in it, since the server has it already"
	}
	if p.why != "" {
		return p.why
	}
	return "its commits do not lead to the old one"
}

// reaches looks for old among tip and its ancestors in the pack.
func (p *pack) reaches(old, tip string) bool {
	seen := map[string]bool{tip: true}
	for todo := []string{tip}; len(todo) > 0; {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if id == old {
			return true
		}
		for _, parent := range p.parents[id] {
			if !seen[parent] {
				seen[parent] = true
				todo = append(todo, parent)
			}
		}
	}
	return false
}

// begin reads the head.
func (p *pack) begin() {
	p.began = true
	p.parents, p.byOffset, p.byID = map[string][]string{}, map[int64][]byte{}, map[string][]byte{}
	p.start = p.r.n
	var head [12]byte
	if _, err := io.ReadFull(p.r, head[:]); err != nil || string(head[:4]) != "PACK" || !bytes.Equal(head[4:8], []byte{0, 0, 0, 2}) {
		p.stop("it has no pack of version 2")
		return
	}
	p.left = uint32(head[8])<<24 | uint32(head[9])<<16 | uint32(head[10])<<8 | uint32(head[11])
}

func (p *pack) stop(why string) {
	if !p.done {
		p.done, p.why = true, why
	}
}

// next reads one object and says whether it was a commit.
func (p *pack) next() bool {
	switch {
	case p.done:
		return false
	case p.left == 0:
		p.stop("")
		return false
	case p.r.n-p.start > MaxPack:
		p.stop(errHeld.Error())
		return false
	}
	p.left--
	commit, err := p.object()
	if err != nil {
		p.stop(err.Error())
	}
	return commit
}

// Types of objects in a pack.
const (
	typeCommit = 1
	typeTree   = 2
	typeBlob   = 3
	typeTag    = 4
	typeOffset = 6
	typeRef    = 7
)

var (
	errPack = errors.New("its pack is malformed, or ends too soon")
	errHeld = errors.New("its first 16 MiB do not show it") // MaxPack
)

func (p *pack) object() (commit bool, err error) {
	at := p.r.n
	b, err := p.r.ReadByte()
	if err != nil {
		return false, errPack
	}
	kind := b >> 4 & 7
	size := uint64(b & 15)
	for shift := 4; b&0x80 != 0; shift += 7 {
		if b, err = p.r.ReadByte(); err != nil || shift > 56 {
			return false, errPack
		}
		size |= uint64(b&0x7f) << shift
	}
	if size > maxInflated {
		return false, fmt.Errorf("it has an object of %d MiB before what shows it", size>>20)
	}
	var base []byte
	switch kind {
	case typeCommit, typeTree, typeBlob, typeTag:
	case typeOffset:
		off, err := p.offset()
		if err != nil || off <= 0 || off > at {
			return false, errPack
		}
		base = p.byOffset[at-off]
	case typeRef:
		id := make([]byte, p.ids)
		if _, err := io.ReadFull(p.r, id); err != nil {
			return false, errPack
		}
		base = p.byID[string(id)]
	default:
		return false, errPack
	}
	keep := (kind == typeCommit || base != nil) && size <= maxCommit
	content, err := p.inflate(int64(size), keep)
	if err != nil || !keep {
		return false, err
	}
	if base != nil {
		if content, err = applyDelta(base, content); err != nil {
			return false, err
		}
	}
	return true, p.commit(at, content)
}

// offset reads how far back a delta's base is.
func (p *pack) offset() (int64, error) {
	b, err := p.r.ReadByte()
	if err != nil {
		return 0, err
	}
	n := int64(b & 0x7f)
	for b&0x80 != 0 {
		if b, err = p.r.ReadByte(); err != nil || n > 1<<48 {
			return 0, errPack
		}
		n = (n+1)<<7 | int64(b&0x7f)
	}
	return n, nil
}

// inflate reads an object's content, and returns it if it is to be kept.
func (p *pack) inflate(size int64, keep bool) ([]byte, error) {
	if p.inflated += size; p.inflated > maxInflated {
		return nil, fmt.Errorf("its first %d MiB do not show it", maxInflated>>20)
	}
	var err error
	if p.zlib == nil {
		p.zlib, err = zlib.NewReader(p.r)
	} else {
		err = p.zlib.(zlib.Resetter).Reset(p.r, nil)
	}
	if err != nil {
		return nil, errPack
	}
	var out bytes.Buffer
	var to io.Writer = io.Discard
	if keep {
		to = &out
	}
	n, err := io.Copy(to, &heldTo{io.LimitReader(p.zlib, size+1), p})
	switch {
	case errors.Is(err, errHeld):
		return nil, errHeld
	case err != nil || n != size:
		return nil, errPack
	}
	return out.Bytes(), nil
}

// heldTo reads until more of the request would be held than may.
type heldTo struct {
	io.Reader
	p *pack
}

func (h *heldTo) Read(b []byte) (int, error) {
	if h.p.r.n-h.p.start > MaxPack {
		return 0, errHeld
	}
	return h.Reader.Read(b)
}

// applyDelta makes an object of its base (gitformat-pack(5), deltified representation).
func applyDelta(base, delta []byte) ([]byte, error) {
	from, delta, ok := deltaSize(delta)
	size, delta, ok2 := deltaSize(delta)
	if !ok || !ok2 || from != uint64(len(base)) || size > maxCommit {
		return nil, errPack
	}
	out := make([]byte, 0, size)
	for len(delta) > 0 {
		op := delta[0]
		delta = delta[1:]
		if op&0x80 == 0 { // the next op bytes
			if op == 0 || int(op) > len(delta) {
				return nil, errPack
			}
			out, delta = append(out, delta[:op]...), delta[op:]
		} else { // a piece of the base
			var v [7]int // bytes of offset, then of length
			for i := range v {
				if op&(1<<i) == 0 {
					continue
				}
				if len(delta) == 0 {
					return nil, errPack
				}
				v[i], delta = int(delta[0]), delta[1:]
			}
			at, n := v[0]|v[1]<<8|v[2]<<16|v[3]<<24, v[4]|v[5]<<8|v[6]<<16
			if n == 0 {
				n = 0x10000
			}
			if at > len(base) || n > len(base)-at {
				return nil, errPack
			}
			out = append(out, base[at:at+n]...)
		}
		if uint64(len(out)) > size {
			return nil, errPack
		}
	}
	if uint64(len(out)) != size {
		return nil, errPack
	}
	return out, nil
}

func deltaSize(b []byte) (n uint64, rest []byte, ok bool) {
	for i, c := range b {
		if i > 8 {
			break
		}
		n |= uint64(c&0x7f) << (7 * i)
		if c&0x80 == 0 {
			return n, b[i+1:], true
		}
	}
	return 0, nil, false
}

// commit notes a commit's id and parents.
func (p *pack) commit(at int64, content []byte) error {
	if p.kept += int64(len(content)); p.kept > maxKept {
		return fmt.Errorf("its first %d MiB of commits do not show it", maxKept>>20)
	}
	head := fmt.Appendf(nil, "commit %d\x00", len(content))
	var sum []byte
	if p.ids == sha256.Size {
		s := sha256.Sum256(append(head, content...))
		sum = s[:]
	} else {
		s := sha1.Sum(append(head, content...)) //nolint:gosec // as git does
		sum = s[:]
	}
	p.byOffset[at], p.byID[string(sum)] = content, content
	list, ok := parentsOf(content, 2*p.ids)
	if !ok {
		return errPack
	}
	p.parents[hex.EncodeToString(sum)] = list
	return nil
}

// parentsOf reads the first lines of a commit, as git's own parser does.
func parentsOf(content []byte, idLen int) (list []string, ok bool) {
	id := func(key string) (string, bool) {
		rest, ok := bytes.CutPrefix(content, []byte(key))
		if !ok || len(rest) <= idLen || rest[idLen] != '\n' || !isID(rest[:idLen]) {
			return "", false
		}
		content = rest[idLen+1:]
		return string(rest[:idLen]), true
	}
	if _, ok := id("tree "); !ok {
		return nil, false
	}
	list = []string{}
	for {
		parent, ok := id("parent ")
		if !ok {
			return list, true
		}
		list = append(list, parent)
	}
}
