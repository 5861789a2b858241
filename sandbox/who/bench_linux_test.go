package who

import (
	"context"
	"fmt"
	"golang.org/x/sys/unix"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"
)

// BenchmarkLookup measures the answer about one connection, in a pen with n idle
// processes of ten descriptors each: of the same process again and again, and of
// a process that has just begun.
func BenchmarkLookup(b *testing.B) {
	self, _ := os.Executable()
	for _, n := range []int{5, 200} {
		for name, script := range map[string]string{
			"same": `"$SELF" role:test-tool dial 198.18.0.7:443 2000`,
			"new":  `i=0; while [ $i -lt 100 ]; do "$SELF" role:test-tool dial 198.18.0.7:443 1 || exit 1; i=$((i+1)); done`,
		} {
			for _, exact := range []bool{false, true} {
				b.Run(fmt.Sprintf("%s/processes=%d/exact=%v", name, n, exact), func(b *testing.B) {
					pn := newPen(b, func(p *Pen) { p.Exact = exact }, "/bin/sh", "-c",
						fmt.Sprintf(`i=0; while [ $i -lt %d ]; do sleep 1000 3</dev/null 4<&3 5<&3 6<&3 7<&3 8<&3 9<&3 & i=$((i+1)); done; %s; r=$?; exit $r`, n, script))
					_ = self
					pn.run()
					var took []time.Duration
					for _, s := range pn.wait(100)[10:] {
						if s.p == nil || s.number != s.claim && s.number != 0 {
							b.Fatalf("%+v", s)
						}
						took = append(took, s.took)
					}
					slices.Sort(took)
					b.ReportMetric(float64(took[len(took)/2])/1000, "p50-µs")
					b.ReportMetric(float64(took[len(took)*99/100])/1000, "p99-µs")
					b.ReportMetric(0, "ns/op")
				})
			}
		}
	}
}

// BenchmarkAgain measures the processor time of an answer about a process that
// was asked for before, without what else the machine does.
func BenchmarkAgain(b *testing.B) {
	for _, n := range []int{5, 200} {
		b.Run(fmt.Sprintf("processes=%d", n), func(b *testing.B) {
			pn := newPen(b, nil, "/bin/sh", "-c",
				fmt.Sprintf(`i=0; while [ $i -lt %d ]; do sleep 1000 3</dev/null 4<&3 5<&3 6<&3 7<&3 8<&3 9<&3 & i=$((i+1)); done; exec "$SELF" role:test-tool dial 198.18.0.7:443 1`, n))
			pn.with = func(client, server netip.AddrPort) {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				pn.Lookup(context.Background(), client, server)
				before := threadTime(b)
				b.ResetTimer()
				for range b.N {
					if p, err := pn.Lookup(context.Background(), client, server); p == nil {
						b.Error(err)
						return
					}
				}
				b.ReportMetric(float64(threadTime(b)-before)/float64(b.N)/1000, "cpu-µs/op")
			}
			pn.run()
		})
	}
}

func threadTime(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
