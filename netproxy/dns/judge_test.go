package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/penstock/penstock/hooks"
)

// said is a hook's word.
func said(word hooks.Action, reason, trace string) judge {
	return func(context.Context) (hooks.Decision, []hooks.Trace) {
		return hooks.Decision{Action: word, Reason: reason}, []hooks.Trace{{Hook: "h", Point: hooks.PointDNS, Decision: trace, Reason: reason}}
	}
}

// byName has those names judged that begin so; name and type are kept in seen.
func byName(seen *sync.Map, words map[string]judge) func(string, string) func(context.Context) (hooks.Decision, []hooks.Trace) {
	return func(name, qtype string) func(context.Context) (hooks.Decision, []hooks.Trace) {
		if seen != nil {
			seen.Store(name+" "+qtype, true)
		}
		first, _, _ := strings.Cut(name, ".")
		if first == "panics" {
			panic(first)
		}
		return words[first]
	}
}

// over asks one question and returns the answer.
func over(t *testing.T, network, addr string, query []byte) dnsmessage.Message {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if network == "tcp" {
		query = append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)
	}
	if _, err := c.Write(query); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if network == "tcp" {
		for n < 2 || n < 2+int(binary.BigEndian.Uint16(buf)) {
			m, err := c.Read(buf[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
		return unpack(t, buf[2:n])
	}
	return unpack(t, buf[:n])
}

// TestJudge: what hooks say of a name is what becomes of it, each time that it is asked
// for; a name that is refused gets no address.
func TestJudge(t *testing.T) {
	var mu sync.Mutex
	events := map[string]Event{}
	var change atomic.Bool
	var seen sync.Map
	long := strings.Repeat("why ", 100)
	s := newServer(t, Config{
		Record: func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			events[e.Name+" "+e.RCode] = e
		},
		Judge: byName(&seen, map[string]judge{
			"next": said(hooks.Next, "", "next"), "denied": said(hooks.Deny, "denied by hook h", "deny"), "long": said(hooks.Deny, long, "deny"),
			"failed": said(hooks.Deny, "hook h failed", "failed"), "nobody": func(context.Context) (hooks.Decision, []hooks.Trace) { return hooks.Decision{}, nil },
			"allow": said(hooks.Allow, "", "allow"), "ask": said(hooks.Ask, "", "ask"),
			"within": func(context.Context) (hooks.Decision, []hooks.Trace) { panic("within") },
			"changes": func(context.Context) (hooks.Decision, []hooks.Trace) {
				if change.Load() {
					return said(hooks.Deny, "denied by hook h", "deny")(t.Context())
				}
				return hooks.Decision{Action: hooks.Next}, nil
			},
		})})
	udp, tcp := serveLoopback(t, s)
	for network, addr := range map[string]string{"udp": udp, "tcp": tcp} {
		for first, want := range map[string]dnsmessage.RCode{
			"next": 0, "free": 0, "denied": dnsmessage.RCodeNameError, "long": dnsmessage.RCodeNameError, "failed": dnsmessage.RCodeServerFailure, "nobody": dnsmessage.RCodeServerFailure,
			"allow": dnsmessage.RCodeServerFailure, "ask": dnsmessage.RCodeServerFailure, "panics": dnsmessage.RCodeServerFailure, "within": dnsmessage.RCodeServerFailure,
		} {
			name := first + "." + network + ".example"
			m := over(t, network, addr, ask(t, name+".", dnsmessage.TypeA, 512))
			if m.RCode != want || len(m.Answers) != map[bool]int{true: 1}[want == 0] {
				t.Errorf("%s: %v", name, m)
			}
			if _, _, has := s.cfg.Table.known([]byte(name), false); has != (want == 0) {
				t.Errorf("%s has an address: %t", name, has)
			}
			if want == 0 && m.Answers[0].Header.TTL != map[string]uint32{"free": ttl}[first] {
				t.Errorf("%s may be kept for %d s", name, m.Answers[0].Header.TTL)
			}
			if strings.HasPrefix("denied long failed", first) {
				opt := m.Additionals[0].Body.(*dnsmessage.OPTResource)
				if len(opt.Options) != 1 || opt.Options[0].Code != optEDE || len(opt.Options[0].Data) < 10 || m.Truncated {
					t.Errorf("%s does not say why: %v", name, m)
				}
			}
		}
		name := "changes." + network + ".example."
		for i, want := range []dnsmessage.RCode{0, 0, dnsmessage.RCodeNameError, 0} {
			change.Store(i == 2)
			if m := over(t, network, addr, ask(t, strings.ToUpper(name), dnsmessage.TypeAAAA, 0)); m.RCode != want {
				t.Errorf("%d. time: %v", i, m)
			}
		}
	}
	// What is no question for a name's address hooks are not asked about.
	seen.Clear()
	for name, kind := range map[string]dnsmessage.Type{"localhost.": dnsmessage.TypeA, "denied.invalid.": dnsmessage.TypeA, "denied.b.": dnsmessage.TypeTXT, "1.0.18.198.in-addr.arpa.": dnsmessage.TypePTR,
		"denied.c.": typeHTTPS, "denied.onion.": dnsmessage.TypeAAAA, "192.0.2.1.": dnsmessage.TypeA} {
		over(t, "udp", udp, ask(t, name, kind, 0))
	}
	seen.Range(func(k, _ any) bool {
		t.Errorf("asked about %s", k)
		return true
	})
	mu.Lock()
	defer mu.Unlock()
	for key, want := range map[string]string{"next.udp.example NOERROR": "next ", "denied.tcp.example NXDOMAIN": "deny denied by hook h", "failed.udp.example SERVFAIL": "failed hook h failed"} {
		if e := events[key]; len(e.Hooks) != 1 || e.Hooks[0].Decision+" "+e.Reason != want {
			t.Errorf("%s: recorded %+v", key, e)
		}
	}
}

// TestJudgeFlood: names that wait for hooks keep no others waiting, use few turns and
// little memory, and end with the server.
func TestJudgeFlood(t *testing.T) {
	var asked, most, now atomic.Int64
	all := make(chan struct{})
	s := newServer(t, Config{Judge: byName(nil, map[string]judge{"slow": func(ctx context.Context) (hooks.Decision, []hooks.Trace) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		if asked.Add(1) == maxTurns {
			close(all)
		}
		<-ctx.Done()
		now.Add(-1)
		return hooks.Decision{Action: hooks.Next}, nil
	}})})
	s.wait = time.Hour // nobody gives up, however slow the machine
	udp, _ := serveLoopback(t, s)
	c, err := net.Dial("udp", udp)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 1500)
	for i := 0; ; i++ {
		// One at a time, so that the kernel drops none of them: each names itself, and a
		// name that no hook is about is behind it.
		c.Write(ask(t, fmt.Sprintf("slow.n%d.example.", i), dnsmessage.TypeA, 512))
		c.Write(ask(t, "free.example.", dnsmessage.TypeA, 0))
		n, err := c.Read(buf)
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		m := unpack(t, buf[:n])
		if m.RCode == dnsmessage.RCodeSuccess && len(m.Answers) == 1 && i < maxHeld {
			continue
		}
		if m.RCode != dnsmessage.RCodeServerFailure || i != maxHeld {
			t.Errorf("%d: %v", i, m)
		}
		break
	}
	<-all
	s.Close()
	if asked.Load() != maxTurns || most.Load() != maxTurns || now.Load() != 0 {
		t.Errorf("asked about %d names, %d at once, of which %d go on", asked.Load(), most.Load(), now.Load())
	}
}

// TestJudgeWaits: who gets no turn in time is refused, and who waits when the server is
// closed gets no answer.
func TestJudgeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(Config{Table: newTable(t, 0), Judge: byName(nil, map[string]judge{"next": said(hooks.Next, "", "next")})})
		for range maxTurns {
			s.turns <- struct{}{}
		}
		begin, q := time.Now(), question{}
		answer := func() []byte {
			query := ask(t, "next.example.", dnsmessage.TypeA, 0)
			if s.handle(query, nil, "udp", netip.AddrPort{}, &q) != nil || q.judge == nil {
				t.Fatal("answered without a question")
			}
			return s.judged(query, nil, "udp", netip.AddrPort{}, &q)
		}
		if m := unpack(t, answer()); m.RCode != dnsmessage.RCodeServerFailure || time.Since(begin) != maxWait {
			t.Errorf("after %v: %v", time.Since(begin), m)
		}
		<-s.turns
		if m := unpack(t, answer()); m.RCode != 0 || len(s.turns) != maxTurns-1 {
			t.Errorf("%v, %d turns are in use", m, len(s.turns))
		}
		s.turns <- struct{}{}
		time.AfterFunc(time.Second, func() { s.Close() })
		if got := answer(); got != nil || !errors.Is(s.ctx.Err(), context.Canceled) {
			t.Errorf("answered by a server that is closed: %x", got)
		}
	})
}
