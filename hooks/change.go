package hooks

import "net/http"

// Bounds of a Change, and of the name of a field.
const (
	MaxChanges     = 32      // fields
	MaxChange      = 8 << 10 // bytes of their names and values
	MaxChangedName = 64      // bytes
)

// Change is what a hook makes of the header of a request, at PointRequest, or of a whole
// body, at PointRequestBody and PointResponseBody.
type Change struct {
	Set    map[string]string // the whole value of a field, by its name
	Remove []string          // names
	// Body is the whole body, decoded; nil: it stays as it is. Where there is one, Set and
	// Remove are empty.
	Body []byte
}

// Fields are names of header fields that a Change is about, in order.
type Fields struct{ Set, Removed []string }

// Of returns the header with the change made. h stays as it is.
func (c *Change) Of(h http.Header) http.Header {
	out := h.Clone()
	if out == nil {
		out = http.Header{}
	}
	for _, name := range c.Remove {
		out.Del(name)
	}
	for name, v := range c.Set {
		out.Set(name, v)
	}
	return out
}
