package daemon

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/donate"
	"github.com/penstock/penstock/supervisor/bossctl"
	"github.com/penstock/penstock/supervisor/daemonctl"
)

// taken is what a proxy does that was taken over, or never was one. The daemon
// must say why it ended the session; sealed tells whether the ledger has its end.
type taken struct {
	why    string
	sealed bool
	do     func(p *hostile)
}

// hostile is such a proxy.
type hostile struct {
	conn  *bossctl.Conn
	files []*os.File
}

func (p *hostile) send(m *bossctl.Message, files ...*os.File) {
	if err := p.conn.Send(m, files...); err != nil {
		os.Exit(0)
	}
}

func (p *hostile) raw(b []byte) { p.conn.Raw().Write(b) }

// await returns when the daemon has sent op.
func (p *hostile) await(op bossctl.Op) *bossctl.Message {
	for {
		m, files, err := p.conn.Recv()
		if err != nil {
			os.Exit(0)
		}
		if files != nil {
			p.files = files
		}
		if m.Op == op {
			return m
		}
	}
}

// stay does nothing, for ever.
func (p *hostile) stay() {
	for {
		unix.Pause()
	}
}

// session is an honest proxy's beginning.
func (p *hostile) session() {
	p.send(&bossctl.Message{Op: bossctl.OpReady})
	p.await(bossctl.OpAssign)
}

func (p *hostile) admitted() {
	p.session()
	p.await(bossctl.OpAdmit)
}

func reach() *bossctl.Message {
	return &bossctl.Message{Op: bossctl.OpGuard, Reach: []bossctl.Reach{{Prefix: netip.MustParsePrefix("127.0.0.1/32"), From: 1, To: 65535}}}
}

func violated(a bossctl.Action) *bossctl.Message {
	return &bossctl.Message{Op: bossctl.OpViolated, Violated: &bossctl.Violated{Kind: "k", Action: a}}
}

func files() *bossctl.Message {
	return &bossctl.Message{Op: bossctl.OpFiles, Files: &bossctl.Files{Hide: []bossctl.Place{{Path: "/x", From: "f:1"}}}}
}

func deny() *bossctl.Message {
	return &bossctl.Message{Op: bossctl.OpDeny, Denied: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}
}

func lastWord(seq uint64) *bossctl.Message {
	return &bossctl.Message{Op: bossctl.OpClosed, Closed: &bossctl.Closed{Seq: seq, Head: hex.EncodeToString(make([]byte, 32))}}
}

// takeovers are in the order of their numbers, which are in the user id.
func takeovers() []taken {
	counts := &bossctl.Message{Op: bossctl.OpCounts, Counts: &bossctl.Counts{Flows: 1 << 60, Denied: 1 << 62}}
	return []taken{
		{"broke its conversation", false, func(p *hostile) { p.session(); p.raw([]byte("garbage\x00\xff")); p.stay() }},
		{"broke its conversation", false, func(p *hostile) { p.session(); p.raw(bytes.Repeat([]byte(" "), bossctl.MaxMessage+2)); p.stay() }},
		{"broke its conversation", false, func(p *hostile) { p.session(); p.send(&bossctl.Message{Op: bossctl.OpReady}); p.stay() }},
		{"broke its conversation", false, func(p *hostile) { p.session(); p.send(&bossctl.Message{Op: bossctl.OpEnd, Text: "x"}); p.stay() }},
		{"broke its conversation", false, func(p *hostile) { p.session(); p.send(reach(), os.Stdin); p.stay() }},
		{"guard is out of turn", false, func(p *hostile) { p.session(); p.send(reach()); p.send(reach()); p.stay() }},
		{"guard is out of turn", false, func(p *hostile) { p.admitted(); p.send(reach()); p.stay() }},
		{"counts too often", false, func(p *hostile) {
			p.admitted()
			for range 100 {
				p.send(counts)
			}
			p.stay()
		}},
		{"broke its conversation", false, func(p *hostile) { p.session(); p.send(violated("applaud")); p.stay() }},
		{"violated is out of turn", false, func(p *hostile) { p.session(); p.send(violated(bossctl.ActionKill)); p.stay() }},
		{"files is out of turn", false, func(p *hostile) { p.session(); p.send(files()); p.send(files()); p.stay() }},
		{"files is out of turn", false, func(p *hostile) { p.admitted(); p.send(files()); p.stay() }},
		{"tells of violations too often", false, func(p *hostile) {
			p.admitted()
			for range 1000 {
				p.send(violated(bossctl.ActionFreeze))
			}
			p.stay()
		}},
		// It may end its own session.
		{"violation: k", false, func(p *hostile) { p.admitted(); p.send(violated(bossctl.ActionKill)); p.stay() }},
		// Each of its words is heard, also at once behind the answer to the one before.
		{"violation: k", false, func(p *hostile) {
			p.admitted()
			for range 15 {
				p.send(violated(bossctl.ActionFreeze))
				p.await(bossctl.OpFrozen)
			}
			p.send(violated(bossctl.ActionKill))
			p.stay()
		}},
		{"the proxy ended: exit status 3", false, func(p *hostile) { p.admitted(); os.Exit(3) }},
		{`the proxy ended: \x1b[2J\u202eroot`, false, func(p *hostile) {
			p.admitted()
			fmt.Fprint(os.Stderr, "\x1b[2J\u202eroot"+strings.Repeat("\xff", 100_000))
			os.Exit(3)
		}},
		// Killed from outside, or by the kernel.
		{"the proxy ended: signal: killed", false, func(p *hostile) { p.admitted(); unix.Kill(os.Getpid(), unix.SIGKILL) }},
		{"broke its conversation", false, func(p *hostile) { p.session(); p.send(deny(), os.Stdin); p.stay() }},
		{"deny is out of turn", false, func(p *hostile) { p.session(); p.send(deny()); p.send(deny()); p.stay() }},
		{"deny is out of turn", false, func(p *hostile) { p.admitted(); p.send(deny()); p.stay() }},
		// Lies about its record; audit verify tells.
		{"", true, func(p *hostile) {
			p.admitted()
			p.files[bossctl.AssignAudit].Write([]byte("not a record\n"))
			p.send(lastWord(7))
			p.stay()
		}},
		{"", true, func(p *hostile) {
			p.admitted()
			p.files[bossctl.AssignAudit].Truncate(0)
			p.send(lastWord(1 << 63))
			p.send(lastWord(2)) // too late to be heard
			p.stay()
		}},
	}
}

func hostileProxy(n int) int {
	var cfg bossctl.Config
	files, err := donate.Receive(&cfg)
	if err != nil || !cfg.Supervised {
		return 1
	}
	p := &hostile{}
	if p.conn, err = bossctl.Open(files[bossctl.FileBoss]); err != nil {
		return 1
	}
	takeovers()[n].do(p)
	return 0
}

// againstScenario goes on, without a proxy's help, until the daemon ends it.
func againstScenario(u *pretender) error {
	for _, step := range []func(context.Context) error{u.open, u.build, u.join, u.network, u.hold, u.verify} {
		if err := within(step); err != nil {
			select {
			case <-u.client.Done():
			case <-time.After(5 * time.Second):
			}
			fmt.Println("ended:", err, u.client.Why())
			return nil
		}
	}
	if u.args = u.args[1:]; len(u.args) > 0 { // it seems to go well
		return within(func(ctx context.Context) error {
			if err := u.client.End(ctx, &daemonctl.End{}); err != nil {
				return err
			}
			fmt.Println("ended: ")
			return nil
		})
	}
	<-u.client.Done()
	fmt.Println("ended:", u.client.Why())
	<-u.pen.Done()
	return nil
}

// TestHostileProxies: each ends its own session, closed, and nothing else.
func TestHostileProxies(t *testing.T) {
	for n, k := range takeovers() {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s := serve(t, func(c *Config) {
				c.Settings.Proxies.FirstUID = hostileBase + os.Getpid()%10_000*10_000 + 100*n
				c.Settings.Proxies.Most = 20
			})
			args := []string{"good"}
			if k.why == "" {
				args = append(args, "end")
			}
			c := s.call(t, ann, "against", args...)
			if got := c.expect("ended:"); !strings.Contains(got, k.why) {
				t.Errorf("%q, want %q", got, k.why)
			}
			c.end()
			s.idle(t)
			r := s.sealed(t, ann)
			if k.sealed == r.OK() { // it is sealed, with a lie
				t.Errorf("%+v", r)
			}
			list, err := s.dial(t).List(context.Background())
			if err != nil || len(list) != 0 {
				t.Errorf("%v, %v", list, err)
			}
		})
	}
}

// TestProxyThatDoesNotStart: whoever waits for it is told, and nobody waits for
// ever.
func TestProxyThatDoesNotStart(t *testing.T) {
	s := serve(t, func(c *Config) {
		c.Settings.Proxies.FirstUID = hostileBase + os.Getpid()%10_000*10_000 + 100*99 // there is none of that number: it panics
		c.Settings.Proxies.Most = 20
	})
	start := time.Now()
	c := s.call(t, ann, "against", "good")
	if got := c.expect("ended:"); !strings.Contains(got, "the proxy ended") {
		t.Errorf("%q", got)
	}
	c.end()
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("after %v", d)
	}
}
