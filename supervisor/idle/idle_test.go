package idle

import (
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		name string
		step func(n int, p *Pulse) // what happens in slice n
		want int                   // slice in which it ends, 0 for none of 100
	}{
		{"nothing", func(int, *Pulse) {}, 10},
		{"wakes up", func(_ int, p *Pulse) { p.CPU += 5 * time.Millisecond }, 10},
		{"works a little", func(_ int, p *Pulse) { p.CPU += 10 * time.Millisecond }, 0},
		{"talks", func(_ int, p *Pulse) { p.Traffic++ }, 0},
		{"is typed to", func(_ int, p *Pulse) { p.Typed++ }, 0},
		{"talks once in nine", func(n int, p *Pulse) { p.Traffic += uint64(n % 9 / 8) }, 0},
		{"stops talking", func(n int, p *Pulse) { p.Traffic += uint64(max(0, 21-n) / 20 * 1) }, 11},
		{"time is lost with a child that nobody waited for", func(n int, p *Pulse) { p.CPU -= time.Millisecond }, 10},
	} {
		i := Clock{Limit: 10 * time.Second}
		if i.Slice() != time.Second {
			t.Fatal(i.Slice())
		}
		var p Pulse
		i.Start(begin, p)
		ended := 0
		for n := 1; n <= 100 && ended == 0; n++ {
			c.step(n, &p)
			if i.Observe(begin.Add(time.Duration(n)*time.Second), p) {
				ended = n
			}
		}
		if ended != c.want {
			t.Errorf("%s: ended in slice %d, want %d", c.name, ended, c.want)
		}
	}
}
