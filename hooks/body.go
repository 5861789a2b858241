package hooks

import "net/http"

// Body is a part of a body, or of a message of a WebSocket.
type Body struct {
	// Data begins at Offset of the body. Its first Seen bytes the hook has been asked
	// about before.
	Data   []byte
	Offset int64
	Seen   int
	// Last says that nothing comes behind it but Trailer.
	Last    bool
	Trailer http.Header
	// Encoding is the Content-Encoding that Data is still in, "" for none.
	Encoding string
	// Room is how many bytes the hook's Change.Body may have; 0: it can't change this.
	Room int64
}

// Rewritten is what a hook has made of a body, without what stands in it.
type Rewritten struct {
	Before, After int64  // bytes, decoded
	SHA256        string // of what it has become, in hexadecimal
}

// Bounds of Inspect.
const (
	DefaultBody = 1 << 20
	MaxBody     = 8 << 20  // of a body that is asked about as a whole
	MaxPart     = 64 << 10 // of a body that is asked about in parts
)

// Inspect is how a hook is asked about bodies. The zero value asks about each as a
// whole, and denies those that are longer than DefaultBody or can't be decoded.
type Inspect struct {
	// Stream asks about a body in parts of at most MaxPart bytes, as they come.
	Stream bool
	// Overlap is how many bytes of what was asked about before a part begins with, at
	// most MaxPart. With Stream only.
	Overlap int
	// Max is after how many bytes, decoded, no more is asked; 0 for DefaultBody, with
	// Stream for no bound. It is at most MaxBody without Stream.
	Max int64
	// Over lets pass what is behind Max; else it is denied.
	Over bool
	// Raw asks about a body whose encoding is not known as it is; else it is denied.
	Raw bool
	// Change lets the hook make another body of at most Max bytes of one that it is asked
	// about as a whole. Not with Stream, Over or Raw.
	Change bool
}

// Valid says whether the bounds are in theirs, and go together.
func (i Inspect) Valid() bool {
	switch {
	case i.Max < 0 || i.Overlap < 0 || i.Overlap > MaxPart:
		return false
	case i.Stream:
		return !i.Change
	}
	return i.Overlap == 0 && i.Max <= MaxBody && !(i.Change && (i.Over || i.Raw))
}
