package netproxy

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/penstock/penstock/audit"
)

// A relay is ended when nothing moves either way, and not while one way is busy.
func TestRelayIdle(t *testing.T) {
	const idle = 300 * time.Millisecond
	pn := newPen(t, someRules, func(c *Config) { c.Limits.Raw = idle })
	l := listen(t)
	pn.place("raw.test:22", l.Addr().String())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func(c net.Conn) {
				defer c.Close()
				b := make([]byte, 1)
				if c.Read(b); b[0] == 's' { // silence from the client, a busy server
					tick := time.NewTicker(idle / 5)
					defer tick.Stop()
					for range 20 {
						<-tick.C
						c.Write(b)
					}
					return
				}
				io.Copy(io.Discard, c)
			}(c)
		}
	}()
	busy := pn.dial("raw.test:22")
	io.WriteString(busy, "s")
	if b, err := io.ReadAll(busy); err != nil || len(b) != 20 {
		t.Errorf("busy: %d bytes, %v", len(b), err)
	}
	quiet := pn.dial("raw.test:22")
	io.WriteString(quiet, "q")
	start := time.Now()
	if _, err := quiet.Read(make([]byte, 1)); err == nil {
		t.Error("quiet: read something")
	}
	if d := time.Since(start); d < idle/2 || d > 10*idle {
		t.Errorf("quiet: ended after %s", d)
	}
	wait(t, pn.records, func(e *audit.FlowClose) bool { return e.Class == "idle" })
}
