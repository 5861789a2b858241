package daemon

import (
	"testing"
	"time"

	"github.com/penstock/penstock/supervisor/daemon/settings"
)

func TestAccounts(t *testing.T) {
	set := settings.Default()
	set.Quota = settings.Quota{Sessions: 2, Connections: 3, Rate: 10}
	set.Proxies.Most = 3
	a := newAccounts(set)
	now := time.Unix(1_000_000, 0)
	for range 3 {
		if r := a.connect(1, now); r != nil {
			t.Fatal(r)
		}
	}
	if a.connect(1, now) == nil {
		t.Error("a fourth connection")
	}
	if r := a.connect(2, now); r != nil {
		t.Errorf("another user pays: %v", r)
	}
	a.disconnect(1, now)
	for n := range 100 {
		r := a.connect(1, now)
		if r == nil {
			a.disconnect(1, now)
		}
		if (r == nil) != (n < 17) { // 2×10 at once, less the three above
			t.Fatalf("connection %d: %v", n, r)
		}
	}
	now = now.Add(100 * time.Millisecond)
	if r := a.request(1, now); r != nil {
		t.Error(r)
	}
	if a.request(1, now) == nil {
		t.Error("two requests in a tenth of a second")
	}
	for range 1000 {
		if r := a.request(0, now); r != nil {
			t.Fatal("root is bounded", r)
		}
	}
	first, second := a.begin(1, now), a.begin(1, now)
	if first != nil || second != nil || a.begin(1, now) == nil {
		t.Error("two sessions are the quota")
	}
	if a.begin(2, now) != nil || a.begin(2, now) == nil {
		t.Error("three sessions are the machine's")
	}
	a.end(1, now)
	if r := a.begin(2, now); r != nil {
		t.Error(r)
	}
	// Who does nothing is forgotten.
	for uid := range 10_000 {
		now = now.Add(time.Second)
		if a.connect(100+uid, now) == nil {
			a.disconnect(100+uid, now)
		}
	}
	if len(a.of) > 200 {
		t.Errorf("%d accounts", len(a.of))
	}
}
