// Command bench measures the proxy against what its building blocks can do, in
// one run, side by side: ref-intercept (net/http server, ReverseProxy, Transport;
// TLS on both sides) and ref-relay (io.Copy between TCP connections), which
// decide and record nothing. Beside these, squid and mitmproxy where they are
// installed; and what our proxy holds in memory.
//
// Its hazard is a flattering figure: client, proxy and origin are separate
// processes of this binary in a user and network namespace of their own, both
// sides of a row run in turn within each round, a row is the median of the
// rounds' ratios, and any failed request fails the benchmark. Nothing imports
// it; `make bench` runs it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	if role := os.Getenv("BENCH_ROLE"); role != "" {
		return runRole(role)
	}
	rounds := flag.Int("rounds", 5, "rounds of each row")
	each := flag.Duration("each", 1500*time.Millisecond, "time of one side in one round")
	only := flag.String("run", "", "rows whose name matches this `regexp`")
	idle := flag.Int("idle", 1000, "idle connections of the row about their memory")
	streams := flag.Int("streams", 10_000, "streams of the row about their memory, or as many as may be open")
	transfer := flag.Int64("transfer", 1<<30, "bytes of the rows about memory during a transfer")
	asJSON := flag.Bool("json", false, "print JSON")
	profile := flag.String("profile", "", "write CPU profiles of our proxy and the references to this `directory`")
	flag.Parse()
	if inside, err := enter(); err != nil || !inside {
		return err
	}
	re, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	b, err := start(*profile)
	if err != nil {
		return err
	}
	defer b.stop()
	var results []result
	for _, r := range rows() {
		if !re.MatchString(r.name) {
			continue
		}
		res, err := b.measure(r, *rounds, *each)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		if !*asJSON {
			printResults(os.Stdout, res, len(results) == 0)
		}
		results = append(results, res...)
	}
	for _, r := range rivals() {
		if !re.MatchString(r.name) {
			continue
		}
		stop, err := b.rival(r.ref)
		if err != nil {
			if os.Getenv("CI") == "true" {
				return err
			}
			fmt.Fprintf(os.Stderr, "bench: no row %q: %v (.ci/install installs it)\n", r.name, err)
			continue
		}
		res, err := b.measure(r, *rounds, *each)
		stop()
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		if !*asJSON {
			printResults(os.Stdout, res, len(results) == 0)
		}
		results = append(results, res...)
	}
	var chosen []weight
	for _, x := range weights(sizes{*idle, *streams, *transfer}) {
		if re.MatchString(x.name) {
			chosen = append(chosen, x)
		}
	}
	out := io.Writer(os.Stdout)
	if *asJSON {
		out = io.Discard
	}
	more, err := b.weigh(out, chosen)
	if err != nil {
		return err
	}
	results = append(results, more...)
	if *asJSON {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(results)
	}
	return nil
}

// row is one line of work, done through ours and through ref in turn.
type row struct {
	name      string
	ours, ref string // proxies
	// do works for about d through a port and returns how good it was.
	do func(b *bench, port int, d time.Duration) (figure, error)
	// better: larger rates are better. reach is the ratio that is asked for.
	larger bool
	reach  float64
	cpu    float64 // ratio of CPU per operation that is asked for, 0: none
	unit   string
	port   map[string]int // of the proxies
}

// figure is what one side did in one round.
type figure struct {
	value float64
	ops   float64
}

// result is one line of the table.
type result struct {
	Row   string    `json:"row"`
	Unit  string    `json:"unit"`
	Ours  float64   `json:"ours"`
	Ref   float64   `json:"reference"`
	Ratio float64   `json:"ratio"`
	Reach float64   `json:"reach"`
	Less  bool      `json:"less_is_better"`
	Met   bool      `json:"met"`
	All   []float64 `json:"ratios"`
}

func (b *bench) measure(r row, rounds int, each time.Duration) ([]result, error) {
	var value, cpu [2][]float64
	var ratios, cpuRatios []float64
	side := func(i int, proxy string) error {
		var before, after float64
		if r.cpu > 0 {
			var err error
			if before, err = b.cpu(proxy); err != nil {
				return err
			}
		}
		f, err := r.do(b, r.port[proxy], each)
		if err != nil {
			return fmt.Errorf("through %s: %w", proxy, err)
		}
		if r.cpu > 0 {
			if after, err = b.cpu(proxy); err != nil {
				return err
			}
		}
		value[i] = append(value[i], f.value)
		cpu[i] = append(cpu[i], (after-before)/f.ops)
		return nil
	}
	for round := range rounds + 1 {
		order := []int{0, 1}
		if round%2 == 1 {
			order = []int{1, 0}
		}
		for _, i := range order {
			if err := side(i, []string{r.ours, r.ref}[i]); err != nil {
				return nil, err
			}
		}
		if round == 0 { // warms caches, connections and the other side's heap
			value, cpu = [2][]float64{}, [2][]float64{}
			continue
		}
		ratios = append(ratios, value[0][round-1]/value[1][round-1])
		cpuRatios = append(cpuRatios, cpu[0][round-1]/cpu[1][round-1])
	}
	m := median(ratios)
	out := []result{{Row: r.name, Unit: r.unit, Ours: median(value[0]), Ref: median(value[1]), Ratio: m, Reach: r.reach, Less: !r.larger,
		Met: r.larger && m >= r.reach || !r.larger && m <= r.reach, All: ratios}}
	if r.cpu > 0 {
		m := median(cpuRatios)
		out = append(out, result{Row: r.name + ", CPU of the proxy", Unit: "µs/request", Ours: 1e6 * median(cpu[0]), Ref: 1e6 * median(cpu[1]),
			Ratio: m, Reach: r.cpu, Less: true, Met: m <= r.cpu, All: cpuRatios})
	}
	return out, nil
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s) == 0 {
		return 0
	}
	return (s[len(s)/2] + s[(len(s)-1)/2]) / 2
}

func printResults(w io.Writer, results []result, head bool) {
	if head {
		fmt.Fprintf(w, "%-48s %-11s %12s %12s %7s %8s  %s\n", "", "", "ours", "reference", "ratio", "reach", "rounds")
	}
	for _, r := range results {
		sign, met := "≥", ""
		if r.Less {
			sign = "≤"
		}
		if !r.Met {
			met = "  MISSED"
		}
		var all []string
		for _, v := range r.All {
			all = append(all, fmt.Sprintf("%.2f", v))
		}
		fmt.Fprintf(w, "%-48s %-11s %12.1f %12.1f %7.2f %s %5.2f  %s%s\n", r.Row, r.Unit, r.Ours, r.Ref, r.Ratio, sign, r.Reach, strings.Join(all, " "), met)
	}
}
