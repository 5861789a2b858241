package who

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// hashGrace is how long an answer waits for the hash of a program that is
	// seen for the first time, when no rule needs it: enough for most programs,
	// and once for each.
	hashGrace = 20 * time.Millisecond
	// Bounds of one file, in bytes and time, and of all that are remembered.
	maxHashed = 1 << 30
	hashTime  = 10 * time.Second
	maxHashes = 4096
	maxQueue  = 64
)

// content says which bytes a file has, as long as nobody sets clocks back.
type content struct {
	file
	size         int64
	mtime, ctime unix.Timespec
}

// hashing is one file's hash, there when done is closed; sum may be "" then.
type hashing struct {
	done chan struct{}
	sum  string
	file *os.File
	key  content
}

// hashes reads executables, one after the other and each once.
type hashes struct {
	mu     sync.Mutex
	known  map[content]*hashing
	queue  chan *hashing
	ended  chan struct{}
	closed bool
	begun  bool
	reader sync.WaitGroup
}

func newHashes() *hashes {
	return &hashes{known: make(map[content]*hashing), queue: make(chan *hashing, maxQueue), ended: make(chan struct{})}
}

func (h *hashes) close() {
	h.mu.Lock()
	if !h.closed {
		h.closed = true
		close(h.ended)
	}
	h.mu.Unlock()
	h.reader.Wait()
}

// of returns the hash of the file that the process runs, nil if it can't be had
// or is not the file exe any more.
func (h *hashes) of(p *process, exe file) *hashing {
	fd, err := open(p.dir, "exe", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil
	}
	key, err := contentOf(fd)
	if err != nil || key.file != exe || key.size > maxHashed {
		unix.Close(fd)
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.known[key]; s != nil || h.closed {
		unix.Close(fd)
		return s
	}
	if len(h.known) >= maxHashes {
		clear(h.known)
	}
	s := &hashing{done: make(chan struct{}), file: os.NewFile(uintptr(fd), "exe"), key: key}
	select {
	case h.queue <- s:
	default:
		s.file.Close()
		return nil
	}
	h.known[key] = s
	if !h.begun {
		h.begun = true
		h.reader.Add(1)
		go h.read()
	}
	return s
}

func contentOf(fd int) (content, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return content{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return content{}, errors.New("not a regular file")
	}
	return content{file{uint64(st.Dev), st.Ino}, st.Size, st.Mtim, st.Ctim}, nil
}

func (h *hashes) read() {
	defer h.reader.Done()
	for {
		select {
		case s := <-h.queue:
			s.sum = h.sum(s)
			s.file.Close()
			close(s.done)
		case <-h.ended:
			for {
				select {
				case s := <-h.queue:
					s.file.Close()
					close(s.done)
				default:
					return
				}
			}
		}
	}
}

// sum hashes a file, "" if that takes too long or if it changes meanwhile.
func (h *hashes) sum(s *hashing) string {
	until := time.Now().Add(hashTime)
	hash := sha256.New()
	buf := make([]byte, 256<<10)
	for {
		select {
		case <-h.ended:
			return ""
		default:
		}
		n, err := s.file.Read(buf)
		hash.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || time.Now().After(until) {
			return ""
		}
	}
	if now, err := contentOf(int(s.file.Fd())); err != nil || now != s.key {
		return ""
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// ready says whether nothing is to be waited for.
func (s *hashing) ready() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// await waits for hashes: as long as the question lasts where a rule needs them,
// else a moment for all.
func (r *Resolver) await(ctx context.Context, pending []*hashing) {
	if !r.pen.Hash {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, hashGrace)
		defer cancel()
	}
	for _, s := range pending {
		select {
		case <-s.done:
		case <-ctx.Done():
			return
		}
	}
}
