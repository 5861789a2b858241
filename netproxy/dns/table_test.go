package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

func newTable(t testing.TB, max int) *Table {
	t.Helper()
	tab, err := NewTable(max)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// TestTableIsOneToOne fills a whole table: every address is in its range, no
// two names share one, and each leads back to its name.
func TestTableIsOneToOne(t *testing.T) {
	tab := newTable(t, 0)
	v4, ula := netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("fd00::/8")
	seen := make(map[netip.Addr]string, 2*DefaultNames)
	for i := range DefaultNames {
		name := fmt.Sprintf("n%d.example", i)
		for _, v6 := range []bool{false, true} {
			a, err := tab.Address(name, v6)
			if err != nil {
				t.Fatalf("name %d: %v", i, err)
			}
			if p := v4; v6 {
				p = ula
				if !p.Contains(a) {
					t.Fatalf("%v outside %v", a, p)
				}
			} else if !p.Contains(a) {
				t.Fatalf("%v outside %v", a, p)
			}
			if other := seen[a]; other != "" {
				t.Fatalf("%v stands for %s and %s", a, other, name)
			}
			seen[a] = name
			if again, _ := tab.Address(name, v6); again != a {
				t.Fatalf("%s: %v, then %v", name, a, again)
			}
			if got, ok := tab.Lookup(a); !ok || got != name {
				t.Fatalf("Lookup(%v) = %q, %v; want %s", a, got, ok, name)
			}
		}
	}
	if _, err := tab.Address("one.more.example", false); !errors.Is(err, ErrFull) {
		t.Fatalf("a full table gave an address: %v", err)
	}
	if _, err := tab.Address("n7.example", false); err != nil {
		t.Fatalf("a full table forgot a name: %v", err)
	}
}

func TestTableBoundsBytes(t *testing.T) {
	tab := newTable(t, 0)
	var err error
	total := 0
	for i := 0; err == nil; i++ {
		name := fmt.Sprintf("%0245d.example", i)
		if _, err = tab.Address(name, false); err == nil {
			total += len(name)
		}
	}
	if !errors.Is(err, ErrFull) || total > maxNameBytes || total < maxNameBytes/2 {
		t.Fatalf("%d bytes of names, then %v", total, err)
	}
}

func TestTableKnowsOnlyItsOwn(t *testing.T) {
	tab := newTable(t, 0)
	a4, _ := tab.Address("a.example", false)
	a6, _ := tab.Address("a.example", true)
	other, _ := newTable(t, 0).Address("a.example", true)
	for _, tc := range []struct {
		addr      netip.Addr
		synthetic bool
	}{
		{a4.Next(), true}, // not given yet
		{netip.AddrFrom16(a4.As16()).Next(), true},
		{a6.Next(), true},
		{a6.WithZone("lo"), true},
		{other, false}, // of another session
		{netip.MustParseAddr("198.17.255.255"), false},
		{netip.MustParseAddr("198.20.0.0"), false},
		{netip.MustParseAddr("8.8.8.8"), false},
		{netip.MustParseAddr("::1"), false},
		{netip.Addr{}, false},
	} {
		if name, ok := tab.Lookup(tc.addr); ok {
			t.Errorf("Lookup(%v) = %q", tc.addr, name)
		}
		if got := tab.Synthetic(tc.addr); got != tc.synthetic {
			t.Errorf("Synthetic(%v) = %v", tc.addr, got)
		}
	}
	if name, ok := tab.Lookup(netip.AddrFrom16(a4.As16())); !ok || name != "a.example" {
		t.Errorf("IPv4-mapped: %q, %v", name, ok)
	}
	var none *Table
	if _, ok := none.Lookup(a4); ok {
		t.Error("a nil table knows a name")
	}
}

func TestTableConcurrent(t *testing.T) {
	tab := newTable(t, 0)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				name := fmt.Sprintf("n%d.example", (i*7+g)%600)
				a, err := tab.Address(name, i%2 == 0)
				if got, ok := tab.Lookup(a); err != nil || !ok || got != name {
					t.Errorf("%s: %v, %q, %v", name, err, got, ok)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkTableAddress(b *testing.B) {
	tab := newTable(b, 0)
	name := []byte(strings.Repeat("a", 20) + ".example")
	if _, err := tab.Address(string(name), false); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok := tab.known(name, false); !ok {
			b.Fatal("forgotten")
		}
	}
}

func BenchmarkTableLookup(b *testing.B) {
	tab := newTable(b, 0)
	a, _ := tab.Address("a.example", false)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := tab.Lookup(a); !ok {
			b.Fatal("forgotten")
		}
	}
}
