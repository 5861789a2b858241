package hookctl

import "testing"

// FuzzDecode: what is read is what would be written.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"op":"start","id":1,"hook":"h"}`))
	f.Add([]byte(`{"op":"ended","id":1,"code":-1}`))
	f.Add([]byte(`{"op":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			return // escaping makes it longer
		}
		if n, err := Decode(again); err != nil || *n != *m {
			t.Errorf("%+v became %+v, %v", m, n, err)
		}
	})
}
