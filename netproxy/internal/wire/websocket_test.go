package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

var maskKey = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// frameOf is a frame as AppendFrameHeader and Mask make it.
func frameOf(masked, fin bool, op byte, payload string) string {
	p := []byte(payload)
	var key *[4]byte
	if masked {
		key = &maskKey
		Mask(*key, 0, p)
	}
	return string(AppendFrameHeader(nil, op, fin, len(p), key)) + string(p)
}

// spoken reads everything and writes down what there was.
func spoken(src io.Reader, masked bool, room int) (string, error) {
	var out strings.Builder
	f := NewFrames(src, masked, func(op byte, p []byte) error {
		fmt.Fprintf(&out, "<%d %q>", op, p)
		return nil
	})
	buf := make([]byte, room)
	for {
		op, err := f.Next()
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return out.String(), err
		}
		fmt.Fprintf(&out, "[%d ", op)
		for {
			n, err := f.Read(buf)
			out.Write(buf[:n])
			if err == io.EOF {
				out.WriteString("]")
				break
			}
			if err != nil {
				return out.String(), err
			}
		}
	}
}

func TestFrames(t *testing.T) {
	long := strings.Repeat("x", 70000)
	for _, masked := range []bool{true, false} {
		f := func(fin bool, op byte, payload string) string { return frameOf(masked, fin, op, payload) }
		for name, c := range map[string]struct{ in, want, why string }{
			"nothing":                   {"", "", ""},
			"text":                      {f(true, OpText, "hi"), "[1 hi]", ""},
			"empty":                     {f(true, OpBinary, ""), "[2 ]", ""},
			"two":                       {f(true, OpText, "hi") + f(true, OpBinary, "ho"), "[1 hi][2 ho]", ""},
			"lengths":                   {f(true, OpText, long[:125]) + f(true, OpText, long[:126]) + f(true, OpText, long[:65536]), "[1 " + long[:125] + "][1 " + long[:126] + "][1 " + long[:65536] + "]", ""},
			"fragments":                 {f(false, OpText, "a") + f(false, 0, "") + f(false, 0, "b") + f(true, 0, "c"), "[1 abc]", ""},
			"last one empty":            {f(false, OpText, "a") + f(true, 0, ""), "[1 a]", ""},
			"ping between":              {f(false, OpText, "a") + f(true, OpPing, "p") + f(true, 0, "b"), `[1 a<9 "p">b]`, ""},
			"close":                     {f(true, OpClose, "\x03\xe8bye") + f(true, OpText, "after"), `<8 "\x03\xe8bye">`, ""},
			"close in a message":        {f(false, OpText, "a") + f(true, OpClose, ""), `[1 a<8 "">`, "unexpected EOF"},
			"reserved bit":              {f(true, OpText|0x40, "hi"), "", "reserved bit"},
			"reserved bit of a ping":    {f(true, OpPing|0x10, "hi"), "", "reserved bit"},
			"reserved bit later":        {f(false, OpText, "a") + f(true, 0x20, "b"), "[1 a", "reserved bit"},
			"opcode 3":                  {f(true, 3, ""), "", "opcode"},
			"opcode 11":                 {f(true, 11, ""), "", "opcode"},
			"continuation of nothing":   {f(true, 0, "x"), "", "continuation of no message"},
			"continuation after an end": {f(true, OpText, "x") + f(true, 0, "x"), "[1 x]", "continuation of no message"},
			"message in a message":      {f(false, OpText, "a") + f(true, OpText, "b"), "[1 a", "a message inside"},
			"part of a ping":            {f(false, OpPing, "a"), "", "a control frame"},
			"long ping":                 {f(true, OpPing, long[:126]), "", "a control frame"},
			"the other's mask":          {frameOf(!masked, true, OpText, "hi"), "", "masked"},
			"half a code":               {f(true, OpClose, "\x03"), "", "half a close code"},
			"no code":                   {f(true, OpClose, "\x03\xed"), "", "a close code"},
			"reason":                    {f(true, OpClose, "\x03\xe8\xff"), "", "not UTF-8"},
			"cut in a header":           {f(true, OpText, long[:300])[:3], "", "unexpected EOF"},
			"cut in a payload":          {f(true, OpText, "hello")[:len(f(true, OpText, "hello"))-1], "[1 hell", "unexpected EOF"},
			"cut between fragments":     {f(false, OpText, "a"), "[1 a", "unexpected EOF"},
		} {
			for _, room := range []int{1, 3, 4096} {
				got, err := spoken(iotest.HalfReader(strings.NewReader(c.in)), masked, room)
				if got != c.want || (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
					t.Errorf("%s, masked %t, room %d: %.200q, %v; want %.200q, %s", name, masked, room, got, err, c.want, c.why)
				}
			}
		}
	}
	for name, in := range map[string]string{
		"2 bytes for 125":   "\x82\x7e\x00\x7d" + long[:125],
		"8 bytes for 65535": "\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff" + long[:65535],
		"2^63":              "\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00",
	} {
		var bad *FrameError
		if _, err := spoken(strings.NewReader(in), false, 4096); !errors.As(err, &bad) || !strings.Contains(bad.Reason, "a length") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFramesDiscard: what is forgotten ends at a close, wherever it begins.
func TestFramesDiscard(t *testing.T) {
	rest := strings.NewReader(frameOf(false, false, OpText, "ab") + frameOf(false, true, OpPing, "p") + frameOf(false, true, 0, "c") +
		frameOf(false, true, OpText, "d") + frameOf(false, true, OpClose, ""))
	f := NewFrames(io.MultiReader(rest, iotest.ErrReader(errors.New("read behind the close"))), false, func(op byte, _ []byte) error {
		t.Errorf("told of opcode %d", op)
		return nil
	})
	if _, err := f.Next(); err != nil {
		t.Fatal(err)
	}
	f.Read(make([]byte, 1))
	f.Discard()
	if !f.Closed() {
		t.Error("not up to the close")
	}
}

func TestMask(t *testing.T) {
	for n := range 40 {
		for at := range 4 {
			b := make([]byte, n)
			if next := Mask(maskKey, at, b); next != (at+n)%4 {
				t.Errorf("%d bytes from %d: %d comes next", n, at, next)
			}
			for i := range b {
				if b[i] != maskKey[(at+i)%4] {
					t.Fatalf("%d bytes from %d: %x", n, at, b)
				}
			}
		}
	}
}

// simpler reads the same in a simpler way: all of it is there.
func simpler(in []byte, masked bool) (out string, ok bool) {
	open := false
	for len(in) > 0 {
		if len(in) < 2 {
			return out, false
		}
		op, fin, n, head := in[0]&15, in[0] >= 0x80, uint64(in[1]&0x7f), 2
		if in[0]&0x70 != 0 || (in[1] >= 0x80) != masked || op > 10 || op > 2 && op < 8 || op >= 8 && (!fin || n > 125) {
			return out, false
		}
		if n >= 126 {
			size := map[uint64]int{126: 2, 127: 8}[n]
			if len(in) < 2+size {
				return out, false
			}
			least := map[uint64]uint64{126: 126, 127: 65536}[n]
			n = 0
			for _, b := range in[2 : 2+size] {
				n = n<<8 | uint64(b)
			}
			if head += size; n < least || n > 1<<63-1 {
				return out, false
			}
		}
		var key [4]byte
		if masked {
			if len(in) < head+4 {
				return out, false
			}
			head += copy(key[:], in[head:])
		}
		if uint64(len(in)-head) < n {
			return out, false
		}
		p := bytes.Clone(in[head : head+int(n)])
		for i := range p {
			p[i] ^= key[i%4]
		}
		in = in[head+int(n):]
		if op >= 8 {
			out += fmt.Sprintf("<%d %q>", op, p)
			if op == OpClose {
				return out, !open && checkClose(p) == nil
			}
			continue
		}
		if open != (op == 0) {
			return out, false
		}
		if !open {
			out += fmt.Sprintf("[%d ", op)
		}
		out += string(p)
		if open = !fin; fin {
			out += "]"
		}
	}
	return out, !open
}

// FuzzFrames: what is read is what a simpler reader reads, however it is cut, and the
// same again when it is written anew.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(frameOf(true, true, OpText, "hi")), true)
	f.Add([]byte(frameOf(false, false, OpText, "a")+frameOf(false, true, OpPing, "p")+frameOf(false, true, 0, "b")+frameOf(false, true, OpClose, "\x03\xe8")), false)
	f.Add([]byte("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00xyz"), true)
	f.Add([]byte("\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"), false)
	f.Add([]byte("\x82\x7e\x00\x7e"+strings.Repeat("x", 126)), false)
	f.Fuzz(func(t *testing.T, in []byte, masked bool) {
		got, err := spoken(bytes.NewReader(in), masked, 4096)
		want, ok := simpler(in, masked)
		if (err == nil) != ok || ok && got != want {
			t.Fatalf("%q, %v; want %q, %t", got, err, want, ok)
		}
		if cut, errCut := spoken(iotest.OneByteReader(bytes.NewReader(in)), masked, 1); cut != got || (errCut == nil) != ok {
			t.Fatalf("cut: %q, %v; whole: %q, %v", cut, errCut, got, err)
		}
		if !ok {
			return
		}
		var anew strings.Builder
		frames := NewFrames(bytes.NewReader(in), masked, func(op byte, p []byte) error {
			anew.WriteString(frameOf(masked, true, op, string(p)))
			return nil
		})
		buf := make([]byte, 100)
		for {
			op, err := frames.Next()
			if err != nil {
				break
			}
			for err == nil {
				var n int
				n, err = frames.Read(buf)
				anew.WriteString(frameOf(masked, err == io.EOF, op, string(buf[:n])))
				op = OpContinuation
			}
		}
		if again, err := spoken(strings.NewReader(anew.String()), masked, 4096); again != want || err != nil {
			t.Fatalf("written anew: %q, %v; was %q", again, err, want)
		}
	})
}
