package speech

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/penstock/penstock/policy"
)

// Bounds of a push's command list.
const (
	maxCommands = 1000
	maxShallow  = 1000
	maxPacket   = 65520 // gitprotocol-common(5)
)

// Command is one line of a push: what a ref is, and shall be.
type Command struct {
	Old, New string // object ids in hexadecimal, of one length
	Ref      string
}

func zero(id string) bool { return strings.Trim(id, "0") == "" }

// Push is the beginning of a push: the body of a request to git-receive-pack up to
// its pack (gitprotocol-pack(5)). It is one goroutine's.
type Push struct {
	Commands []Command // none: the request asks nothing

	report, sideband bool  // what the client understands
	bad              error // what is wrong with its capabilities
	pack             *pack
}

// ReadPush reads the command list. It reads ahead of it. The error is what is
// wrong with the list, in words that hold no byte of it, or the reader's own; the
// Push may be there beside it, to Report.
func ReadPush(body io.Reader) (*Push, error) {
	p := &Push{}
	r := &counted{r: bufio.NewReaderSize(body, 4096)}
	buf := make([]byte, maxPacket)
	shallow := 0
	for {
		line, err := packet(r, buf)
		if err != nil {
			return nil, err
		}
		if line == nil {
			break
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		if rest, ok := bytes.CutPrefix(line, []byte("shallow ")); ok && len(p.Commands) == 0 {
			if shallow++; shallow > maxShallow || !isID(rest) {
				return nil, errors.New("its list of shallow commits is malformed or too long")
			}
			continue
		}
		if bytes.Equal(line[:min(len(line), 9)], []byte("push-cert")) {
			return nil, errors.New("it is signed (push-cert), which can't be judged")
		}
		if len(p.Commands) == maxCommands {
			return nil, fmt.Errorf("it has more than %d commands", maxCommands)
		}
		if err := p.command(line); err != nil {
			return nil, err
		}
	}
	if p.bad != nil {
		return p, p.bad
	}
	return p, p.behind(r, shallow)
}

// behind looks at what follows the list.
func (p *Push) behind(r *counted, shallow int) error {
	needsPack := false
	for _, c := range p.Commands {
		needsPack = needsPack || !zero(c.New)
	}
	if needsPack {
		size := len(p.Commands[0].New) / 2
		p.pack = &pack{r: r, ids: size}
		return nil
	}
	if len(p.Commands) == 0 && shallow > 0 {
		return errors.New("it has no commands")
	}
	// The flush alone is how git tries a server out before a large push.
	switch _, err := r.ReadByte(); {
	case err == nil:
		return errors.New("there is more behind its commands")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// packet reads one pkt-line, nil for a flush.
func packet(r io.Reader, buf []byte) ([]byte, error) {
	if _, err := io.ReadFull(r, buf[:4]); err != nil {
		return nil, ended(err)
	}
	for _, c := range buf[:4] {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return nil, errors.New("it is not in the form of git (pkt-line)")
		}
	}
	n, err := strconv.ParseUint(string(buf[:4]), 16, 16)
	switch {
	case err != nil || n > maxPacket || 0 < n && n <= 4:
		return nil, errors.New("it is not in the form of git (pkt-line)")
	case n == 0:
		return nil, nil
	}
	if _, err := io.ReadFull(r, buf[:n-4]); err != nil {
		return nil, ended(err)
	}
	return buf[:n-4], nil
}

// ended names the end before the end.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends within its commands")
	}
	return err
}

// isID says whether b is an object id as git writes it.
func isID(b []byte) bool {
	if len(b) != 40 && len(b) != 64 {
		return false
	}
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// command reads OLD NEW REF, and behind a NUL in the first one the capabilities.
func (p *Push) command(line []byte) error {
	line, caps, has := bytes.Cut(line, []byte{0})
	if has != (len(p.Commands) == 0) {
		return errors.New("its capabilities are not behind its first command")
	}
	parts := bytes.SplitN(line, []byte(" "), 3)
	if len(parts) != 3 || !isID(parts[0]) || !isID(parts[1]) || len(parts[0]) != len(parts[1]) {
		return errors.New("a command is not in the form of git")
	}
	c := Command{Old: string(parts[0]), New: string(parts[1]), Ref: string(parts[2])}
	switch {
	case !isRef(c.Ref):
		return errors.New("the name of a ref is malformed")
	case zero(c.Old) && zero(c.New):
		return errors.New("a command neither creates nor deletes")
	case has:
		p.bad = p.capabilities(string(caps), len(c.New))
	case len(c.New) != len(p.Commands[0].New):
		return errors.New("its object ids are of two kinds")
	}
	for _, d := range p.Commands {
		if d.Ref == c.Ref {
			return errors.New("it has two commands for one ref")
		}
	}
	p.Commands = append(p.Commands, c)
	return nil
}

func (p *Push) capabilities(s string, idLen int) error {
	// Servers differ in what separates them, beside a space.
	if s = strings.TrimSuffix(s, "\n"); strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
		return errors.New("its capabilities are malformed")
	}
	format := "sha1"
	for word := range strings.SplitSeq(s, " ") {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "report-status", "report-status-v2":
			p.report = true
		case "side-band-64k":
			p.sideband = true
		case "object-format":
			format = value
		case "push-options":
			return errors.New("it has push options, which can do more than push")
		case "push-cert":
			return errors.New("it is signed (push-cert), which can't be judged")
		}
	}
	if want := map[int]string{40: "sha1", 64: "sha256"}[idLen]; format != want {
		return errors.New("its object ids are not of its object-format")
	}
	return nil
}

// isRef says whether s is the name of a ref below refs/, as git-check-ref-format(1)
// has it, in printable ASCII: a name in other characters has several spellings.
func isRef(s string) bool {
	if !strings.HasPrefix(s, "refs/") || len(s) > 1024 || strings.Contains(s, "..") || strings.Contains(s, "@{") || strings.HasSuffix(s, ".") {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") || part == "@" {
			return false
		}
	}
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`~^:?*[\`, r) }) < 0
}

// Judge says why a rule does not allow the push as a whole, "" if it does. The
// words are printable.
func (p *Push) Judge(g *policy.Git) string {
	for _, c := range p.Commands {
		if why := p.judge(g, c); why != "" {
			return why
		}
	}
	return ""
}

func (p *Push) judge(g *policy.Git, c Command) string {
	ref := short(c.Ref)
	branch, isBranch := strings.CutPrefix(c.Ref, "refs/heads/")
	tag, isTag := strings.CutPrefix(c.Ref, "refs/tags/")
	switch {
	case isBranch && !g.Branch(branch):
		return ref + " is none of its branches"
	case isTag && !g.Tag(tag):
		return ref + " is none of its tags"
	case !isBranch && !isTag:
		return ref + " is neither a branch nor a tag"
	case zero(c.New):
		if !g.Delete {
			return ref + " would be deleted (it has no delete: true)"
		}
		return ""
	case zero(c.Old) || g.Force:
		return "" // the server refuses to create what is there
	case isTag:
		return ref + " would be moved: tags stay (it has no force: true)"
	}
	if why := p.pack.descends(c.Old, c.New); why != "" {
		return ref + " would not be moved forward only, as far as the push shows (it has no force: true): " + why
	}
	return ""
}

// About says what the push does, in few printable words.
func (p *Push) About() string {
	if len(p.Commands) == 0 {
		return "push of nothing"
	}
	c := p.Commands[0]
	what := "push to "
	if zero(c.New) {
		what = "deletion of "
	}
	s := what + short(c.Ref)
	if n := len(p.Commands) - 1; n > 0 {
		s += " and " + strconv.Itoa(n) + " more"
	}
	return s
}

// short cuts the name of a ref, which is printable.
func short(ref string) string {
	if len(ref) > 200 {
		return ref[:200] + "..."
	}
	return ref
}

// Report is the answer in which git shows why, one printable line, nil if the
// client can't read it.
func (p *Push) Report(why string) []byte {
	if p == nil || !p.report || len(p.Commands) == 0 {
		return nil
	}
	var status []byte
	status = appendPacket(status, "unpack ok\n")
	for _, c := range p.Commands {
		// git prints what comes behind the name in brackets.
		status = appendPacket(status, "ng "+c.Ref+" denied by penstock\n")
	}
	status = append(status, "0000"...)
	if !p.sideband {
		return status
	}
	var out []byte
	out = appendPacket(out, "\x02penstock: denied: "+why[:min(len(why), 4000)]+"\n")
	for len(status) > 0 {
		n := min(len(status), maxPacket-5)
		out = appendPacket(out, "\x01"+string(status[:n]))
		status = status[n:]
	}
	return append(out, "0000"...)
}

func appendPacket(b []byte, s string) []byte {
	return append(fmt.Appendf(b, "%04x", len(s)+4), s...)
}
