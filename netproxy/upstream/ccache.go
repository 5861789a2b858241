package upstream

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/jcmturner/gokrb5/v8/types"
)

// ccache is a Kerberos credential cache in a file, of version 3 or 4 (MIT
// Kerberos, "Credential cache file format"). The library's own parser believes
// every length and count.
type ccache struct {
	client  ccPrincipal
	entries []ccEntry
}

type ccPrincipal struct {
	realm string
	name  types.PrincipalName
}

type ccEntry struct {
	server ccPrincipal
	key    types.EncryptionKey
	end    time.Time
	ticket []byte
}

var errCache = errors.New("not a credential cache of version 3 or 4")

func parseCache(b []byte) (*ccache, error) {
	r := ccReader{b: b}
	version := r.uint16()
	switch version {
	case 0x0504:
		r.take(uint32(r.uint16())) // the header's tags: a clock's offset
	case 0x0503:
	default:
		return nil, errCache
	}
	c := &ccache{client: r.principal()}
	for !r.bad && len(r.b) > 0 {
		r.principal() // whose ticket it is: the cache's own client
		e := ccEntry{server: r.principal()}
		e.key.KeyType = int32(int16(r.uint16()))
		if version == 0x0503 {
			r.uint16() // again
		}
		e.key.KeyValue = r.data()
		r.take(8) // times of login and of the ticket's beginning
		e.end = time.Unix(int64(r.uint32()), 0)
		r.take(4 + 1 + 4) // renewal, kind of key, flags
		for range 2 {     // addresses, authorization data
			for n := r.uint32(); n > 0 && !r.bad; n-- {
				r.uint16()
				r.data()
			}
		}
		e.ticket = r.data()
		r.data() // a second ticket
		c.entries = append(c.entries, e)
	}
	if r.bad {
		return nil, errCache
	}
	return c, nil
}

// ccReader takes fields off b; after one that is not there it is bad, and what it
// returns is zero.
type ccReader struct {
	b   []byte
	bad bool
}

func (r *ccReader) take(n uint32) []byte {
	if r.bad || uint64(n) > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *ccReader) uint16() uint16 {
	if v := r.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *ccReader) uint32() uint32 {
	if v := r.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (r *ccReader) data() []byte { return r.take(r.uint32()) }

func (r *ccReader) principal() (p ccPrincipal) {
	p.name.NameType = int32(r.uint32())
	n := r.uint32()
	p.realm = string(r.data())
	for ; n > 0 && !r.bad; n-- {
		p.name.NameString = append(p.name.NameString, string(r.data()))
	}
	return p
}
