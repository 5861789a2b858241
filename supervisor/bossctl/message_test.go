package bossctl

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const (
	goodAssign = `{"op":"assign","assign":{"session":"s","uid":1000,"user":"ann","started":"2026-11-22T20:15:01Z","floor_name":"/etc/penstock/policy.yaml","floor_text":"YTogYg=="}}`
	goodAdmit  = `{"op":"admit","admit":{"uid":1000,"gid":1000,"cgroup":"/penstock/pens/u1000/s1","net":4026531840,"user":4026531841,"pid":7,"start":99}}`
	goodGuard  = `{"op":"guard","reach":[{"prefix":"10.0.0.0/8","from":1,"to":65535},{"prefix":"::1/128","from":53,"to":53}]}`
	goodDeny   = `{"op":"deny","denied":["0.0.0.0/1","203.0.113.0/24","2001:db8::/32"]}`
	goodClosed = `{"op":"closed","closed":{"seq":7,"head":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","flows":3,"denied":1}}`
)

func TestDecode(t *testing.T) {
	for _, good := range []string{
		goodAssign, goodAdmit, goodGuard, goodDeny, goodClosed, `{"op":"ready"}`, `{"op":"guard"}`, `{"op":"deny"}`, `{"op":"denied"}`, `{"op":"denied","text":"no"}`, `{"op":"guarded"}`, `{"op":"guarded","text":"no"}`,
		`{"op":"end","text":"the caller is gone"}`, `{"op":"counts","counts":{"flows":1,"denied":0}}`,
	} {
		if _, err := Decode([]byte(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	many := strings.Repeat(`{"prefix":"10.0.0.0/8","from":1,"to":2},`, MaxReach+1)
	ranges := strings.Repeat(`"10.0.0.0/8",`, MaxDenied+1)
	for _, bad := range []string{
		``, `{}`, `[]`, `null`, `{"op":""}`, `{"op":"root"}`, `{"op":"ready"}{}`, `{"op":"ready","x":1}`, `{"op":"ready","text":"x"}`,
		`{"op":"ready","reach":[]}`, `{"op":"assign"}`, `{"op":"admit"}`, `{"op":"counts"}`, `{"op":"closed"}`, `{"op":"end","text":"a\nb"}`,
		`{"op":"counts","counts":{"flows":-1,"denied":0}}`, `{"op":"counts","counts":{"flows":18446744073709551616,"denied":0}}`,
		strings.Replace(goodAssign, `"ann"`, `""`, 1), strings.Replace(goodAssign, `1000`, `-1`, 1), strings.Replace(goodAssign, `"s"`, `"\u001b"`, 1),
		strings.Replace(goodAssign, `"/etc/penstock/policy.yaml"`, `""`, 1),
		strings.Replace(goodAdmit, `"pid":7`, `"pid":0`, 1), strings.Replace(goodAdmit, `4026531840`, `0`, 1),
		strings.Replace(goodGuard, `10.0.0.0/8`, `10.0.0.1/8`, 1), strings.Replace(goodGuard, `10.0.0.0/8`, `::ffff:10.0.0.0/104`, 1),
		strings.Replace(goodGuard, `"from":1,`, `"from":0,`, 1), strings.Replace(goodGuard, `"to":53`, `"to":52`, 1),
		strings.Replace(goodDeny, `203.0.113.0/24`, `203.0.113.1/24`, 1), strings.Replace(goodDeny, `203.0.113.0/24`, `::ffff:203.0.113.0/120`, 1),
		strings.Replace(goodDeny, `203.0.113.0/24`, ``, 1), strings.Replace(goodDeny, `203.0.113.0/24`, `203.0.113.0/33`, 1), strings.Replace(goodDeny, `2001:db8::/32`, `fe80::%lo/64`, 1),
		strings.Replace(goodDeny, `"deny"`, `"guard"`, 1), `{"op":"deny","reach":[]}`, `{"op":"deny","denied":[` + ranges[:len(ranges)-1] + `]}`,
		`{"op":"guard","reach":[` + many[:len(many)-1] + `]}`,
		strings.Replace(goodClosed, `0123`, ``, 1), strings.Replace(goodClosed, `0123`, `012x`, 1), strings.Replace(goodClosed, `0123`, `01230`, 1),
		"{\"op\":\"end\",\"text\":\"\xff\"}", goodAssign + strings.Repeat(" ", MaxMessage),
	} {
		if m, err := Decode([]byte(bad)); err == nil {
			t.Errorf("%.200s: taken as %+v", bad, m)
		}
	}
}

// TestLargestFits: what Check allows can be sent.
func TestLargestFits(t *testing.T) {
	reach := make([]Reach, MaxReach)
	for i := range reach {
		reach[i] = Reach{netip.MustParsePrefix("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/128"), 10000, 65535}
	}
	denied := make([]netip.Prefix, MaxDenied)
	for i := range denied {
		denied[i] = reach[0].Prefix
	}
	for _, m := range []*Message{
		{Op: OpGuard, Reach: reach},
		{Op: OpDeny, Denied: denied},
		{Op: OpAssign, Assign: &Assign{Session: strings.Repeat("<", maxWord), User: strings.Repeat("<", maxWord), Started: time.Now(),
			FloorName: strings.Repeat("<", maxText), FloorText: make([]byte, MaxFloor)}},
	} {
		b, err := m.Encode()
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := Decode(b); err != nil {
			t.Error(err)
		}
	}
}

// FuzzDecode: whatever is taken can be sent on and is the same then.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{goodAssign, goodAdmit, goodGuard, goodDeny, goodClosed, `{"op":"ready"}`, `{"op":"end","text":"x"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		one, err := m.Encode()
		if err != nil {
			return // escaping made it too long
		}
		again, err := Decode(one)
		if err != nil {
			t.Fatalf("%q became %q: %v", b, one, err)
		}
		if two, err := again.Encode(); err != nil || !bytes.Equal(one, two) {
			t.Fatalf("%q, then %q", one, two)
		}
	})
}
