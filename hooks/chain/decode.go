package chain

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"strings"
)

// Bounds of what a body may be decoded to: so many times its bytes and some that are
// free; and how many of it may be decoded to one, and some to nothing.
const (
	maxRatio  = 100
	freeBytes = 1 << 20
	maxWaste  = 16
	freeWaste = 256 << 10
)

// codingError says why a body can't be decoded.
type codingError struct{ text string }

func (e *codingError) Error() string { return e.text }

// decode has the hook get what a body is, not how it is encoded.
func (x *part) decode(encoding string) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
		return
	case "gzip", "x-gzip":
		x.dec = &decoder{src: x.src, hold: x.hold, make: func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }}
	case "deflate":
		x.dec = &decoder{src: x.src, hold: x.hold, make: func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }}
	default:
		if x.coding = encoding; !x.l.Inspect.Raw {
			x.refused = errCoded
		}
		return
	}
	if !x.hold(decoderSize) {
		x.refused = errHeld
	}
}

// decoderSize is about what a decoder keeps.
const decoderSize = 80 << 10

// decoder reads what a body is decoded to, and keeps the bytes that it was made of.
// It takes no byte of the body before it needs it: what was not decoded must not
// leave.
type decoder struct {
	src  io.Reader
	hold func(int64) bool
	make func(io.Reader) (io.Reader, error)
	out  io.Reader
	err  error

	in       [4 << 10]byte
	ahead    []byte // of in: not taken yet
	end      error  // behind it
	raw      []byte // taken since the last take
	from, to int64  // bytes taken, bytes made of them
}

// Read returns all that is decoded already if p has at least minRead bytes.
func (d *decoder) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	if d.out == nil {
		// An empty body is no message of any encoding, and empty all the same.
		if d.fill(); len(d.ahead) == 0 && d.end == io.EOF { //nolint:errorlint // readers return it bare
			d.err = io.EOF
			return 0, d.err
		}
		if d.out, d.err = d.make(taken{d}); d.err != nil {
			return 0, d.failed(d.err)
		}
	}
	n, err := d.out.Read(p)
	if d.to += int64(n); d.to > maxRatio*d.from+freeBytes {
		clear(p[:n])
		d.err = &codingError{"the body grows more than a hundred times when it is decoded"}
		return 0, d.err
	}
	if err != nil {
		err = d.failed(err)
	}
	return n, err
}

// failed keeps why there is nothing more.
func (d *decoder) failed(err error) error {
	switch {
	case d.end != nil && d.end != io.EOF: //nolint:errorlint // readers return it bare
		err = d.end // of the body, not of its encoding
	case err == io.EOF: //nolint:errorlint // readers return it bare
		if d.fill(); len(d.ahead) > 0 {
			err = &codingError{"there is something behind the end of the encoded body"}
		}
	default:
		if _, ok := err.(*codingError); !ok { //nolint:errorlint // ours come bare
			err = &codingError{"the body is not what its Content-Encoding says"}
		}
	}
	d.err = err
	return err
}

// fill reads from the body if nothing is left of the last time.
func (d *decoder) fill() {
	for len(d.ahead) == 0 && d.end == nil {
		n, err := d.src.Read(d.in[:])
		d.ahead, d.end = d.in[:n], err
	}
}

// taken is what a decompressor reads of the body: byte by byte (io.ByteReader), so
// that it takes no more than it needs.
type taken struct{ *decoder }

// Read implements io.Reader.
func (d taken) Read(p []byte) (n int, err error) {
	for n < len(p) {
		b, err := d.ReadByte()
		if err != nil {
			return n, err
		}
		p[n] = b
		if n++; len(d.ahead) == 0 {
			break
		}
	}
	return n, nil
}

// ReadByte implements io.ByteReader.
func (d *decoder) ReadByte() (byte, error) {
	if d.fill(); len(d.ahead) == 0 {
		return 0, d.end
	}
	if d.from++; d.from > maxWaste*d.to+freeWaste {
		d.from--
		return 0, &codingError{"the body holds next to nothing when it is decoded"}
	}
	if len(d.raw) == cap(d.raw) {
		more := max(cap(d.raw), 4<<10)
		if !d.hold(int64(more)) {
			return 0, &codingError{errHeld.Error()}
		}
		d.raw = append(make([]byte, 0, cap(d.raw)+more), d.raw...)
	}
	b := d.ahead[0]
	d.ahead = d.ahead[1:]
	d.raw = append(d.raw, b)
	return b, nil
}

// take returns what was decoded since the last time. It is valid until the next
// Read.
func (d *decoder) take() []byte {
	raw := d.raw
	d.raw = d.raw[:0]
	return raw
}

// rest returns what was not decoded.
func (d *decoder) rest() io.Reader {
	if d.end != nil {
		return io.MultiReader(bytes.NewReader(d.ahead), failing{d.end})
	}
	return io.MultiReader(bytes.NewReader(d.ahead), d.src)
}

// failing is a reader that has come to its end.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
