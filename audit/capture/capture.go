package capture

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Exchange is what was kept of one flow.
type Exchange struct {
	Flow     uint64   `json:"flow"`
	Request  *Message `json:"request,omitempty"`
	Response *Message `json:"response,omitempty"`
}

// Message is one direction of an Exchange.
type Message struct {
	Header [][2]string `json:"header,omitempty"`
	Body   []byte      `json:"body,omitempty"`
	// Truncated says that the body, or the header, was longer than what is kept.
	Truncated bool `json:"truncated,omitempty"`
}

// Limits of a session.
const (
	MaxFile   = 256 << 20 // bytes of the file
	maxMemory = 32 << 20  // bytes of bodies that are held at once
	maxQueue  = 512       // exchanges that wait to be written
	maxLine   = 8 << 20
	// Slack is how much more than its limit a body is held, so that a value that
	// crosses the limit is redacted whole.
	Slack = 8 << 10
)

// The ways in which an exchange is not kept.
var (
	ErrFull   = errors.New("the file is as long as it may be")
	ErrMemory = errors.New("too much is being captured at once")
	ErrClosed = errors.New("the capture has ended")
)

// Writer writes exchanges in the order of Put, from a goroutine of its own: no
// flow waits for the disk. It is safe for use by several goroutines.
type Writer struct {
	out   io.WriteCloser
	limit int64
	queue chan []byte
	done  chan struct{}

	mu     sync.Mutex
	size   int64 // of the file, with what is in the queue
	held   int64
	err    error // why nothing more is kept
	lost   uint64
	closed bool
}

// NewWriter writes to out, which it closes in the end, at most limit bytes.
func NewWriter(out io.WriteCloser, limit int64) *Writer {
	w := &Writer{out: out, limit: limit, queue: make(chan []byte, maxQueue), done: make(chan struct{})}
	go w.write()
	return w
}

// Hold takes room in memory for n bytes of bodies; Release gives it back.
func (w *Writer) Hold(n int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.err != nil:
		return w.err
	case w.held+n > maxMemory:
		return ErrMemory
	}
	w.held += n
	return nil
}

// Release gives back what Hold took.
func (w *Writer) Release(n int64) {
	w.mu.Lock()
	w.held -= n
	w.mu.Unlock()
}

// Put has an exchange written. An error says that it is not kept.
func (w *Writer) Put(x *Exchange) error {
	line, err := json.Marshal(x)
	if err != nil {
		return fmt.Errorf("capture flow %d: %w", x.Flow, err)
	}
	line = append(line, '\n')
	w.mu.Lock()
	defer w.mu.Unlock()
	switch n := int64(len(line)); {
	case w.closed:
		return ErrClosed
	case w.err != nil:
		return w.err
	case w.size+n > w.limit:
		return ErrFull
	default:
		select {
		case w.queue <- line:
			w.size += n
			return nil
		default:
			return ErrMemory
		}
	}
}

func (w *Writer) write() {
	defer close(w.done)
	for line := range w.queue {
		err := w.failed()
		if err == nil {
			if _, err = w.out.Write(line); err != nil {
				err = fmt.Errorf("write the capture: %w", err)
			}
		}
		if err != nil {
			w.mu.Lock()
			w.err, w.lost = err, w.lost+1
			w.mu.Unlock()
		}
	}
}

// Lost returns how many exchanges Put took that could not be written.
func (w *Writer) Lost() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost
}

func (w *Writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Close waits until everything is written. The error is the first of a write:
// what was put after it is lost.
func (w *Writer) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		<-w.done
		return w.failed()
	}
	w.closed = true
	close(w.queue)
	w.mu.Unlock()
	<-w.done
	if err := w.out.Close(); err != nil && w.failed() == nil {
		return fmt.Errorf("write the capture: %w", err)
	}
	return w.failed()
}

// Index knows where the exchanges of a file are.
type Index struct {
	r  io.ReadSeeker
	at map[uint64]int64
}

// Read looks through a file. Lines that are no exchanges are left out: a proxy
// that was killed leaves an unfinished one.
func Read(r io.ReadSeeker) (*Index, error) {
	x := &Index{r: r, at: map[uint64]int64{}}
	in := bufio.NewReaderSize(r, 64<<10)
	for at := int64(0); ; {
		line, err := readLine(in)
		var head struct {
			Flow uint64 `json:"flow"`
		}
		if err == nil && len(line.text) > 0 && json.Unmarshal(line.text, &head) == nil && head.Flow != 0 {
			x.at[head.Flow] = at
		}
		at += line.size
		if errors.Is(err, io.EOF) {
			return x, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the capture: %w", err)
		}
	}
}

// Of returns what was kept of a flow, nil if nothing was.
func (x *Index) Of(flow uint64) (*Exchange, error) {
	at, ok := x.at[flow]
	if !ok {
		return nil, nil //nolint:nilnil // most flows are not captured
	}
	if _, err := x.r.Seek(at, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read the capture: %w", err)
	}
	line, err := readLine(bufio.NewReaderSize(x.r, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("read the capture: %w", err)
	}
	e := new(Exchange)
	if err := json.Unmarshal(line.text, e); err != nil || e.Flow != flow {
		return nil, fmt.Errorf("read the capture of flow %d: the file changed meanwhile", flow)
	}
	return e, nil
}

type fileLine struct {
	text []byte // "" of one that is too long
	size int64
}

// readLine reads a whole line; an unfinished last one is the end of the file.
func readLine(in *bufio.Reader) (l fileLine, err error) {
	for {
		piece, err := in.ReadSlice('\n')
		l.size += int64(len(piece))
		if l.size <= maxLine {
			l.text = append(l.text, piece...)
		} else {
			l.text = nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return l, err
		}
	}
}
