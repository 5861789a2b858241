package netproxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
)

// A policy that is replaced under load judges all requests that come after.
func TestSetPolicy(t *testing.T) {
	pn := newPen(t, someRules)
	pn.all()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		cl := pn.client("h1")
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := cl.Get("https://api.test/")
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 && resp.StatusCode != 403 {
					t.Errorf("%s", resp.Status)
				}
			}
		})
	}
	cl := pn.client("h1")
	for range 20 {
		pn.p.SetPolicy(parsePolicy(t, "version: 1\negress: {allow: [{host: other.test}]}"))
		if resp, _ := get(t, cl, "https://api.test/"); resp.StatusCode != 403 {
			t.Errorf("after the deny: %s", resp.Status)
		}
		pn.p.SetPolicy(parsePolicy(t, "version: 1\negress: {allow: [{host: api.test}]}"))
		if resp, _ := get(t, cl, "https://api.test/"); resp.StatusCode != 200 {
			t.Errorf("after the allow: %s", resp.Status)
		}
	}
	close(stop)
	wg.Wait()
}

// The same upwards: the origin has all that the pen has sent, at every pause.
func TestBulkUp(t *testing.T) {
	pn := newPen(t, someRules)
	sizes := []int{1_000_000, 3_000_000, 5_000_000 - 70_000, 5_000_000 - 10, 5_000_000}
	arrived := make(chan int)
	pn.origin("api.test:443", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n := 0
		b := make([]byte, 64<<10)
		for _, pause := range sizes {
			for n < pause {
				k, err := r.Body.Read(b[:min(len(b), pause-n)])
				for i := range k {
					if b[i] != byte((n+i)%251) {
						t.Errorf("byte %d is wrong", n+i)
						return
					}
				}
				if n += k; err != nil && n < pause {
					t.Errorf("%d bytes: %v", n, err)
					return
				}
			}
			arrived <- n
		}
	}))
	for _, proto := range []string{"h1", "h2"} {
		for range 2 {
			r, w := io.Pipe()
			req, _ := http.NewRequest("PUT", "https://api.test/", r)
			req.ContentLength = 5_000_000
			done := make(chan error, 1)
			go func() {
				resp, err := pn.client(proto).Do(req)
				if err == nil {
					resp.Body.Close()
				}
				done <- err
			}()
			n := 0
			for _, pause := range sizes {
				b := make([]byte, pause-n)
				for i := range b {
					b[i] = byte((n + i) % 251)
				}
				w.Write(b)
				n = pause
				if pause == 5_000_000 {
					w.Close()
				}
				if got := <-arrived; got != pause {
					t.Fatalf("%s: %d bytes arrived of %d", proto, got, pause)
				}
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("nothing passed")
	}
	pn := newPen(t, someRules)
	pn.p.Close()
	pn.p.Close()
	if err := pn.p.ServeCaptured(listen(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
}

// Bulk data of a known length arrives whole, whatever the pieces, and what has
// come is not held while the rest is not there.
func TestBulk(t *testing.T) {
	pn := newPen(t, someRules)
	const size = 9 << 20
	hold := make(chan struct{})
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "9437184")
		b := make([]byte, 100_000)
		for n := 0; n < size; {
			k := min(len(b), size-n)
			for i := range k {
				b[i] = byte((n + i) % 251)
			}
			w.Write(b[:k])
			if n += k; n == 4_000_000 {
				w.(http.Flusher).Flush()
				<-hold
			}
		}
	}))
	for _, proto := range []string{"h1", "h2"} {
		for range 3 {
			resp, err := pn.client(proto).Get("https://api.test/")
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, size)
			if _, err := io.ReadFull(resp.Body, b[:4_000_000]); err != nil {
				t.Fatal(err)
			}
			hold <- struct{}{}
			if _, err := io.ReadFull(resp.Body, b[4_000_000:]); err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			for i, c := range b {
				if c != byte(i%251) {
					t.Fatalf("byte %d is wrong", i)
				}
			}
		}
	}
}
