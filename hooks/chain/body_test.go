package chain

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/penstock/penstock/hooks"
)

// reader is a hook that remembers what it was asked about, and denies what holds a
// word.
type reader struct {
	t       testing.TB
	got     []byte
	asked   int
	last    bool
	trailer http.Header
	coding  string
	deny    string
	onAsk   func()
}

func (x *reader) Prompt() {}

func (x *reader) Decide(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
	b := r.Body
	if b == nil || x.last {
		x.t.Errorf("asked about %+v, after the end: %t", b, x.last)
		return hooks.Decision{}, nil
	}
	if b.Offset+int64(b.Seen) != int64(len(x.got)) || !bytes.HasSuffix(x.got, b.Data[:b.Seen]) {
		x.t.Errorf("a part at %d of which %d bytes were seen, behind %d", b.Offset, b.Seen, len(x.got))
	}
	if x.asked++; x.onAsk != nil {
		x.onAsk()
	}
	x.got = append(x.got, b.Data[b.Seen:]...)
	x.last, x.trailer, x.coding = b.Last, b.Trailer, b.Encoding
	if x.deny != "" && bytes.Contains(b.Data, []byte(x.deny)) {
		return hooks.Decision{Reason: "there it is"}, nil
	}
	return hooks.Decision{Action: hooks.Next}, nil
}

// inspect has hooks look at a body.
func inspect(t testing.TB, src io.Reader, encoding string, held *Held, entries ...Entry) *Body {
	t.Helper()
	for i := range entries {
		entries[i].On = []hooks.Point{hooks.PointRequestBody}
		if entries[i].Name == "" {
			entries[i].Name = "h"
		}
	}
	if held == nil {
		held = &Held{Max: 64 << 20}
	}
	q := *request
	q.Point = hooks.PointRequestBody
	b := newChain(t, entries...).Inspect(t.Context(), &q, src, encoding, func() http.Header { return http.Header{"X-T": {"u"}} }, held)
	t.Cleanup(func() {
		if b.Close(); held.n.Load() != 0 {
			t.Errorf("%d bytes are held at the end", held.n.Load())
		}
	})
	return b
}

// noise is text that does not compress away.
func noise(n int) []byte {
	g := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + g.IntN(20))
	}
	return b
}

func packed(t testing.TB, encoding string, b []byte) []byte {
	var out bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "deflate":
		w = zlib.NewWriter(&out)
	default:
		return b
	}
	w.Write(b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestInspectPasses: what the hook has nothing against arrives as it was sent, and
// the hook has seen all of it once, in order.
func TestInspectPasses(t *testing.T) {
	for _, n := range []int{0, 1, 1000, 64 << 10, 200_000} {
		for _, encoding := range []string{"", "gzip", "deflate"} {
			for _, i := range []hooks.Inspect{{}, {Max: 1 << 20}, {Stream: true}, {Stream: true, Overlap: 100}, {Stream: true, Overlap: hooks.MaxPart}, {Stream: true, Max: 1 << 30}} {
				for name, chop := range map[string]func(io.Reader) io.Reader{"": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "end with data": iotest.DataErrReader} {
					body := noise(n)
					sent := packed(t, encoding, body)
					x := &reader{t: t}
					b := inspect(t, chop(bytes.NewReader(sent)), encoding, nil, Entry{Hook: x, Inspect: i})
					if err := b.Begin(); err != nil || !i.Stream && x.asked != 1 || i.Stream && x.asked > 0 {
						t.Errorf("begin: %v, asked %d times", err, x.asked)
					}
					got, err := io.ReadAll(b)
					if err != nil || !bytes.Equal(got, sent) || !bytes.Equal(x.got, body) || !x.last || x.trailer.Get("X-T") != "u" || x.coding != "" {
						t.Errorf("%d bytes, %q, %+v, %s: passed %d, asked about %d, last %t: %v", n, encoding, i, name, len(got), len(x.got), x.last, err)
					}
					if tr := b.Traces(); len(tr) != 1 || tr[0].Times != uint64(x.asked) || tr[0].Decision != "next" {
						t.Errorf("%+v", tr)
					}
				}
			}
		}
	}
}

// TestInspectDenies: nothing of the part in which a word is found passes, and nothing
// behind it; an overlap finds it also where it is cut in two.
func TestInspectDenies(t *testing.T) {
	body := append(noise(100_000), "SECRET"...)
	body = append(body, noise(100_000)...)
	for _, encoding := range []string{"", "gzip", "deflate"} {
		for _, i := range []hooks.Inspect{{}, {Stream: true, Overlap: 5}} {
			sent := packed(t, encoding, body)
			x := &reader{t: t, deny: "SECRET"}
			behind := &reader{t: t}
			b := inspect(t, iotest.HalfReader(bytes.NewReader(sent)), encoding, nil, Entry{Hook: x, Rule: "f:1", Inspect: i}, Entry{Hook: behind, Inspect: hooks.Inspect{Stream: true}})
			got, err := io.ReadAll(b)
			var denied *Denied
			if !errors.As(err, &denied) || denied.After != int64(len(got)) || denied.Decision.Rule != "f:1" || denied.Decision.Reason != "denied by hook h: there it is" {
				t.Errorf("%q %+v: passed %d: %v", encoding, i, len(got), err)
			}
			if bytes.Contains(behind.got, []byte("SECRET")) || !i.Stream && len(got) > 0 || i.Stream && len(got) == 0 {
				t.Errorf("%q %+v: passed %d", encoding, i, len(got))
			}
			if n, again := b.Read(make([]byte, 10)); n != 0 || !errors.Is(again, err) {
				t.Errorf("behind the deny: %d, %v", n, again)
			}
			if tr := b.Traces(); tr[0].Decision != "deny" || tr[0].Reason != "there it is" {
				t.Errorf("%+v", tr)
			}
		}
	}
}

// TestInspectAhead: of a compressed stream nothing passes that was not decoded and
// asked about, and each flushed event passes without the next one.
func TestInspectAhead(t *testing.T) {
	pr, pw := io.Pipe()
	events := make(chan []byte)
	go func() {
		z := gzip.NewWriter(pw)
		for e := range events {
			z.Write(e)
			z.Flush()
		}
		z.Close()
		pw.Close()
	}()
	x := &reader{t: t}
	b := inspect(t, pr, "gzip", nil, Entry{Hook: x, Inspect: hooks.Inspect{Stream: true}})
	var passed, want []byte
	buf := make([]byte, 64<<10)
	for i, n := range []int{10, 1, 70_000, 100, 33_000} {
		e := noise(n + i)
		want = append(want, e...)
		events <- e
		for len(x.got) < len(want) {
			n, err := b.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			passed = append(passed, buf[:n]...)
			z, err := gzip.NewReader(bytes.NewReader(passed))
			if err != nil {
				continue // its header is not whole
			}
			plain, _ := io.ReadAll(z)
			if !bytes.HasPrefix(want, plain) || len(plain) > len(x.got)+258 { // a byte may hold the beginning of one more symbol
				t.Fatalf("%d bytes can be decoded, asked about %d", len(plain), len(x.got))
			}
		}
	}
	close(events)
	rest, err := io.ReadAll(b)
	z, _ := gzip.NewReader(bytes.NewReader(append(passed, rest...)))
	if plain, zerr := io.ReadAll(z); err != nil || zerr != nil || !bytes.Equal(plain, want) {
		t.Errorf("%d of %d bytes: %v, %v", len(plain), len(want), err, zerr)
	}
}

// TestInspectOver: what is longer than the hook may be asked about is denied, or
// passes unseen if that was chosen.
func TestInspectOver(t *testing.T) {
	body := noise(300_000)
	for _, encoding := range []string{"", "gzip"} {
		for _, i := range []hooks.Inspect{{Max: 100_000}, {Max: 300_000}, {Max: 299_999}, {Stream: true, Max: 100_000}, {Stream: true, Max: 300_000}, {Stream: true, Max: 100_000, Overlap: 10}} {
			for _, over := range []bool{false, true} {
				i.Over = over
				sent := packed(t, encoding, body)
				x := &reader{t: t}
				b := inspect(t, bytes.NewReader(sent), encoding, nil, Entry{Hook: x, Inspect: i})
				got, err := io.ReadAll(b)
				fits := i.Max >= int64(len(body))
				var denied *Denied
				switch {
				case fits || over:
					if err != nil || !bytes.Equal(got, sent) || x.last != fits || int64(len(x.got)) != i.Max {
						t.Errorf("%q %+v: passed %d of %d, asked about %d: %v", encoding, i, len(got), len(sent), len(x.got), err)
					}
					if tr := b.Traces(); (tr[0].Reason != "") == fits {
						t.Errorf("%+v", tr)
					}
				case !errors.As(err, &denied) || !strings.Contains(denied.Decision.Reason, "longer than the hook's max_body") || int64(len(x.got)) > i.Max || !i.Stream && len(got) > 0 || len(beginning(encoding, got)) > len(x.got) || !bytes.HasPrefix(sent, got):
					t.Errorf("%q %+v: passed %d, asked about %d: %v", encoding, i, len(got), len(x.got), err)
				}
			}
		}
	}
}

// beginning is what can be made of the beginning of a body.
func beginning(encoding string, b []byte) []byte {
	if encoding == "gzip" {
		b, _ = unpacked(gzip.NewReader(bytes.NewReader(b))) // it ends somewhere
	}
	return b
}

// TestInspectUndecoded: what can't be decoded, or not in bounds, is denied.
func TestInspectUndecoded(t *testing.T) {
	good := packed(t, "gzip", []byte("hello"))
	empty := append([]byte{}, good[:10]...)
	empty = append(empty, bytes.Repeat([]byte{0, 0, 0, 0xff, 0xff}, 200_000)...)
	var raw bytes.Buffer
	w, _ := flate.NewWriter(&raw, 9)
	w.Write([]byte("hello"))
	w.Close()
	for name, c := range map[string]struct {
		encoding string
		body     []byte
		why      string
	}{
		"another encoding": {"br", []byte("hello"), "can't be undone"},
		"two encodings":    {"gzip, br", good, "can't be undone"},
		"twice":            {"gzip, gzip", good, "can't be undone"},
		"not encoded":      {"gzip", []byte("hello hello hello"), "not what its Content-Encoding says"},
		"not zlib":         {"deflate", raw.Bytes(), "not what its Content-Encoding says"},
		"half of it":       {"gzip", good[:len(good)-4], "not what its Content-Encoding says"},
		"a wrong sum":      {"gzip", append(append([]byte{}, good[:len(good)-8]...), 1, 2, 3, 4, 5, 0, 0, 0), "not what its Content-Encoding says"},
		"something behind": {"gzip", append(append([]byte{}, good...), "GET / HTTP/1.1"...), "not what its Content-Encoding says"},
		"behind zlib":      {"deflate", append(packed(t, "deflate", []byte("hello")), 'x'), "something behind the end"},
		"a bomb":           {"gzip", packed(t, "gzip", make([]byte, 50<<20)), "more than a hundred times"},
		"nothing in much":  {"gzip", empty, "next to nothing"},
	} {
		for _, i := range []hooks.Inspect{{Stream: true}, {Max: hooks.MaxBody}} {
			x := &reader{t: t}
			got, err := io.ReadAll(inspect(t, bytes.NewReader(c.body), c.encoding, nil, Entry{Hook: x, Inspect: i}))
			var denied *Denied
			if !errors.As(err, &denied) || !strings.Contains(denied.Decision.Reason, c.why) && !(name == "a bomb" && !i.Stream && strings.Contains(denied.Decision.Reason, "longer")) || x.last {
				t.Errorf("%s, %+v: %d passed, %v", name, i, len(got), err)
			}
			if !i.Stream && len(got) > 0 || len(x.got) > 20<<20 {
				t.Errorf("%s, %+v: %d passed, %d asked about", name, i, len(got), len(x.got))
			}
		}
	}
	for _, encoding := range []string{"br", "gzip, br"} {
		x := &reader{t: t}
		got, err := io.ReadAll(inspect(t, strings.NewReader("hello"), encoding, nil, Entry{Hook: x, Inspect: hooks.Inspect{Raw: true}}))
		if err != nil || string(got) != "hello" || string(x.got) != "hello" || x.coding != encoding {
			t.Errorf("%s as it is: %q, %+v, %v", encoding, got, x, err)
		}
	}
	two := append(append([]byte{}, good...), good...)
	x := &reader{t: t}
	if got, err := io.ReadAll(inspect(t, bytes.NewReader(two), "x-gzip", nil, Entry{Hook: x})); err != nil || !bytes.Equal(got, two) || string(x.got) != "hellohello" {
		t.Errorf("two members: %q, %v", x.got, err)
	}
}

// TestInspectBroken: a body that breaks off is no end, and of a whole one nothing
// passes.
func TestInspectBroken(t *testing.T) {
	boom := errors.New("boom")
	for _, i := range []hooks.Inspect{{}, {Stream: true}, {Stream: true, Overlap: 9}} {
		for _, encoding := range []string{"", "gzip"} {
			sent := packed(t, encoding, noise(100_000))
			x := &reader{t: t}
			got, err := io.ReadAll(inspect(t, io.MultiReader(bytes.NewReader(sent[:len(sent)/2]), iotest.ErrReader(boom)), encoding, nil, Entry{Hook: x, Inspect: i}))
			if !errors.Is(err, boom) || x.last || !i.Stream && len(got)+x.asked > 0 || i.Stream && len(got) == 0 {
				t.Errorf("%+v %q: %d passed, asked %d times, %v", i, encoding, len(got), x.asked, err)
			}
		}
	}
}

// TestInspectHeld: what all bodies hold together is bounded; who finds no room is
// denied.
func TestInspectHeld(t *testing.T) {
	held := &Held{Max: 1 << 20}
	x := &reader{t: t}
	first := inspect(t, bytes.NewReader(noise(400_000)), "", held, Entry{Hook: x})
	if err := first.Begin(); err != nil {
		t.Fatal(err)
	}
	y := &reader{t: t}
	second := inspect(t, bytes.NewReader(noise(700_000)), "", held, Entry{Hook: y})
	var denied *Denied
	if err := second.Begin(); !errors.As(err, &denied) || !strings.Contains(err.Error(), "too much of bodies") || y.asked > 0 {
		t.Errorf("%v, asked %d times", err, y.asked)
	}
	second.Close()
	if _, err := io.ReadAll(first); err != nil {
		t.Error(err)
	}
	first.Close()
	z := &reader{t: t}
	third := inspect(t, bytes.NewReader(noise(300_000)), "", held, Entry{Hook: z})
	if err := third.Begin(); err != nil {
		t.Error(err)
	}
}

// TestInspectNoRoomToDecode: what a decoder keeps counts, too.
func TestInspectNoRoomToDecode(t *testing.T) {
	for _, i := range []hooks.Inspect{{}, {Stream: true}} {
		x := &reader{t: t}
		got, err := io.ReadAll(inspect(t, bytes.NewReader(packed(t, "gzip", noise(100))), "gzip", &Held{Max: decoderSize - 1}, Entry{Hook: x, Inspect: i}))
		var denied *Denied
		if !errors.As(err, &denied) || !strings.Contains(err.Error(), errHeld.Error()) || len(got) > 0 || x.asked > 0 {
			t.Errorf("%+v: %q, %v, asked %d times", i, got, err, x.asked)
		}
	}
}

// TestInspectNoRoomForWhatIsDecoded: so do the bytes that were decoded, which stay until the
// hook has been asked about what they are.
func TestInspectNoRoomForWhatIsDecoded(t *testing.T) {
	x := &reader{t: t}
	sent := packed(t, "gzip", noise(100_000))
	got, err := io.ReadAll(inspect(t, bytes.NewReader(sent), "gzip", &Held{Max: decoderSize + hooks.MaxPart + 6<<10}, Entry{Hook: x, Inspect: hooks.Inspect{Stream: true}}))
	var denied *Denied
	if !errors.As(err, &denied) || !strings.Contains(err.Error(), errHeld.Error()) || !bytes.HasPrefix(sent, got) || len(got) == len(sent) {
		t.Errorf("%d of %d bytes, %v", len(got), len(sent), err)
	}
}

// TestInspectEmpty: a body without a byte is none of any encoding, and is asked about once.
func TestInspectEmpty(t *testing.T) {
	for _, encoding := range []string{"", "gzip", "deflate"} {
		for _, i := range []hooks.Inspect{{}, {Stream: true}} {
			x := &reader{t: t}
			b := inspect(t, strings.NewReader(""), encoding, nil, Entry{Hook: x, Inspect: i})
			got, err := io.ReadAll(b)
			if n, again := b.Read(make([]byte, 1)); n != 0 || again != io.EOF {
				t.Errorf("%q, %+v: then %d, %v", encoding, i, n, again)
			}
			if err != nil || len(got) > 0 || x.asked != 1 || !x.last {
				t.Errorf("%q, %+v: %q, %v, asked %d times", encoding, i, got, err, x.asked)
			}
		}
	}
}

// TestWhole: only what has been asked about to its end is given out as a whole.
func TestWhole(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		i    hooks.Inspect
		deny string
		ok   bool
	}{
		"a body":   {"body", hooks.Inspect{}, "", true},
		"nothing":  {"", hooks.Inspect{}, "", true},
		"parts":    {"body", hooks.Inspect{Stream: true}, "", false},
		"denied":   {"body", hooks.Inspect{}, "od", false},
		"longer":   {"body", hooks.Inspect{Max: 2, Over: true}, "", false},
		"too long": {"body", hooks.Inspect{Max: 2}, "", false},
	} {
		b := inspect(t, strings.NewReader(tt.body), "", nil, Entry{Hook: &reader{t: t, deny: tt.deny}, Inspect: tt.i})
		got, ok := b.Whole()
		if ok != tt.ok || ok && string(got) != tt.body || !ok && got != nil {
			t.Errorf("%s: %q, %t", name, got, ok)
		}
		if again, ok := b.Whole(); ok || again != nil {
			t.Errorf("%s: again %q", name, again)
		}
	}
}

// TestInspectNoAnswer: as everywhere, whatever is no answer denies.
func TestInspectNoAnswer(t *testing.T) {
	for name, h := range map[string]hooks.Hook{
		"error": says(hooks.Decision{Action: hooks.Next}, errors.New("boom")), "allow": says(hooks.Decision{Action: hooks.Allow}, nil),
		"reply": says(hooks.Decision{Action: hooks.Reply, Answer: &hooks.Answer{Status: 200}}, nil),
		"panic": hookFunc(func(context.Context, *hooks.Request) (hooks.Decision, error) { panic("boom") }),
	} {
		for _, stream := range []bool{false, true} {
			got, err := io.ReadAll(inspect(t, strings.NewReader("body"), "", nil, Entry{Hook: h, Inspect: hooks.Inspect{Stream: stream}}))
			var denied *Denied
			if !errors.As(err, &denied) || len(got) > 0 || !strings.Contains(denied.Decision.Reason, "hook h failed, which denies") {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
	}
	for _, i := range []hooks.Inspect{{Max: -1}, {Overlap: 1}, {Max: hooks.MaxBody + 1}, {Stream: true, Overlap: hooks.MaxPart + 1}, {Stream: true, Overlap: -1}} {
		if _, err := New([]Entry{{Name: "h", Hook: says(hooks.Decision{}, nil), Inspect: i}}); err == nil {
			t.Errorf("%+v is taken", i)
		}
	}
}

// FuzzInspect: whatever a body is, what passes is its beginning, all of it if there
// is no error, and the hook has seen what that is decoded to.
func FuzzInspect(f *testing.F) {
	f.Add([]byte("hello"), uint8(0), uint16(3))
	f.Add(packed(f, "gzip", []byte("hello")), uint8(1), uint16(0))
	f.Add(packed(f, "deflate", noise(1000)), uint8(6), uint16(200))
	f.Add(append(packed(f, "gzip", noise(100)), packed(f, "gzip", noise(10))...), uint8(5), uint16(50))
	f.Fuzz(func(t *testing.T, sent []byte, how uint8, limit uint16) {
		encoding := []string{"", "gzip", "deflate", "br"}[how&3]
		i := hooks.Inspect{Stream: how&4 != 0, Max: int64(limit), Over: how&8 != 0, Raw: how&16 != 0}
		if i.Stream && how&32 != 0 {
			i.Overlap = 7
		}
		x := &reader{t: t}
		src := io.Reader(bytes.NewReader(sent))
		if how&64 != 0 {
			src = iotest.HalfReader(src)
		}
		b := inspect(t, src, encoding, nil, Entry{Hook: x, Inspect: i})
		got, err := io.ReadAll(b)
		if !bytes.HasPrefix(sent, got) || err == nil && len(got) != len(sent) {
			t.Fatalf("%d of %d bytes passed: %v", len(got), len(sent), err)
		}
		plain, perr := sent, error(nil)
		switch encoding {
		case "gzip":
			plain, perr = unpacked(gzip.NewReader(bytes.NewReader(sent)))
		case "deflate":
			plain, perr = unpacked(zlib.NewReader(bytes.NewReader(sent)))
		}
		if !bytes.HasPrefix(plain, x.got) {
			t.Fatalf("asked about %q of %q", x.got, plain)
		}
		if err == nil && x.last && (len(x.got) != len(plain) || perr != nil && len(sent) > 0) {
			t.Fatalf("asked about %d of %d bytes (%v)", len(x.got), len(plain), perr)
		}
	})
}

func unpacked(r io.Reader, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func BenchmarkInspect(b *testing.B) {
	next := promptHook{says(hooks.Decision{Action: hooks.Next}, nil)}
	body := noise(1 << 20)
	buf := make([]byte, 64<<10)
	for _, encoding := range []string{"", "gzip"} {
		for _, i := range []hooks.Inspect{{}, {Stream: true}, {Stream: true, Overlap: 64}} {
			sent := packed(b, encoding, body)
			b.Run(fmt.Sprintf("%s/%+v", encoding, i), func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				c := newChain(b, Entry{Name: "h", Hook: next, Inspect: i, On: []hooks.Point{hooks.PointRequestBody}})
				q := *request
				q.Point = hooks.PointRequestBody
				held := &Held{Max: 64 << 20}
				for b.Loop() {
					x := c.Inspect(b.Context(), &q, bytes.NewReader(sent), encoding, nil, held)
					io.CopyBuffer(struct{ io.Writer }{io.Discard}, x, buf) //nolint:errcheck // the tests see it
					x.Close()
				}
			})
		}
	}
}
