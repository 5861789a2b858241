package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// weight is a figure of our proxy alone, beside what is asked for.
type weight struct {
	name string
	unit string
	most float64 // that is asked for; 0: nothing is
	do   func(b *bench) (value float64, note string, err error)
}

// sizes are how much the weights move: smaller ones show that they run.
type sizes struct {
	idle, streams int
	transfer      int64 // bytes, in whole bodies
}

func weights(s sizes) []weight {
	return []weight{
		{"memory of an idle intercepted connection", "KB", 30, idleMemory(s.idle)},
		{"memory of a stream of server-sent events", "KB", 0, streamMemory(s.streams)},
		{"growth by a download", "MB", 32, transferMemory(s.transfer, bulkDown(h1Name))},
		{"growth by an upload", "MB", 32, transferMemory(s.transfer, bulkUp)},
		{"a CEL hook adds to p50", "µs", 5, celHook},
	}
}

func (b *bench) weigh(w io.Writer, list []weight) ([]result, error) {
	var results []result
	for _, x := range list {
		v, note, err := x.do(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", x.name, err)
		}
		met := ""
		if x.most > 0 && v > x.most {
			met = "  MISSED"
		}
		fmt.Fprintf(w, "%-48s %-11s %12.1f %22.0f  %s%s\n", x.name, x.unit, v, x.most, note, met)
		results = append(results, result{Row: x.name, Unit: x.unit, Ours: v, Reach: x.most, Less: true, Met: x.most == 0 || v <= x.most})
	}
	return results, nil
}

// open opens n connections of h1Name, a few at once, and has each send a request
// and do what first does with the answer.
func (b *bench) open(n int, req []byte, first func(*client) error) (list []*client, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := make(chan struct{}, n)
	for range n {
		next <- struct{}{}
	}
	close(next)
	for range 8 {
		wg.Go(func() {
			for range next {
				c, e := b.dialSmall(penH1, h1Name)
				if e == nil {
					if e = first(c); e == nil {
						mu.Lock()
						list = append(list, c)
						mu.Unlock()
						continue
					}
					c.c.Close()
				}
				mu.Lock()
				err = errors.Join(err, e)
				mu.Unlock()
				return
			}
		})
	}
	wg.Wait()
	if err == nil && len(list) != n {
		err = fmt.Errorf("%d connections of %d", len(list), n)
	}
	if err != nil {
		closeAll(list)
		list = nil
	}
	return list, err
}

// dialSmall is dial with little memory on the client's side.
func (b *bench) dialSmall(port int, name string) (*client, error) {
	raw, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return nil, err
	}
	c := tls.Client(raw, &tls.Config{RootCAs: b.world.pool, ServerName: name, NextProtos: []string{"http/1.1"}})
	if err := c.Handshake(); err != nil {
		raw.Close()
		return nil, err
	}
	return &client{c, bufio.NewReaderSize(c, 512)}, nil
}

func closeAll(list []*client) {
	for _, c := range list {
		c.c.Close()
	}
}

// idleMemory is what a connection holds between two requests.
func idleMemory(n int) func(*bench) (float64, string, error) {
	return func(b *bench) (float64, string, error) {
		req := request(h1Name, "/")
		warm, err := b.open(64, req, func(c *client) error { return c.get(req) })
		if err != nil {
			return 0, "", err
		}
		closeAll(warm)
		before, err := b.memory("rss")
		if err != nil {
			return 0, "", err
		}
		list, err := b.open(n, req, func(c *client) error { return c.get(req) })
		if err != nil {
			return 0, "", err
		}
		defer closeAll(list)
		after, err := b.memory("rss")
		return (after - before) / 1e3 / float64(n), fmt.Sprintf("%d connections, RSS %.1f to %.1f MB", n, before/1e6, after/1e6), err
	}
}

// streamMemory opens streams that all wait for one event, and has it come: every
// stream must get it and its end. It does so twice: the runtime and the pool of
// unused upstream connections keep something of the first time, and what the proxy
// holds after the second may not be more.
func streamMemory(n int) func(*bench) (float64, string, error) {
	return func(b *bench) (float64, string, error) {
		n := mostStreams(n)
		before, during, once, err := b.stream(n, 0)
		if err != nil {
			return 0, "", err
		}
		_, _, twice, err := b.stream(n, once)
		if err == nil && twice > 1.1*once {
			err = fmt.Errorf("after %d streams the proxy holds %.1f MB, after as many again %.1f MB", n, once/1e6, twice/1e6)
		}
		return (during - before) / 1e3 / float64(n), fmt.Sprintf("%d streams, none lost, RSS %.1f to %.1f, afterwards %.1f, after as many again %.1f MB",
			n, before/1e6, during/1e6, once/1e6, twice/1e6), err
	}
}

// stream returns the proxy's memory before, during and after n streams.
func (b *bench) stream(n int, enough float64) (before, during, after float64, err error) {
	req := request(h1Name, "/wait")
	if before, err = b.memory("rss"); err != nil {
		return
	}
	list, err := b.open(n, req, func(c *client) error {
		if _, err := c.do(req); err != nil {
			return err
		}
		return c.event("first")
	})
	if err != nil {
		return
	}
	defer closeAll(list)
	if during, err = b.memory("rss"); err != nil {
		return
	}
	last, err := b.dial(penH1, h1Name)
	if err != nil {
		return
	}
	defer last.c.Close()
	if err = last.get(request(h1Name, "/release")); err != nil {
		return
	}
	for i, c := range list {
		c.c.SetReadDeadline(time.Now().Add(time.Minute))
		if err = errors.Join(c.event("last"), c.event("")); err != nil {
			return before, during, 0, fmt.Errorf("stream %d of %d lost its event or its end: %w", i, n, err)
		}
		c.c.Close()
	}
	after, err = b.settled(enough)
	return
}

// event reads the chunk of an event that says what; "" is the end of the body.
func (c *client) event(what string) error {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if what == "" && bytes.HasPrefix(line, []byte("0\r\n")) || what != "" && bytes.HasPrefix(line, []byte("data: "+what)) {
			return nil
		}
	}
}

// settled asks for the memory until it is below enough or falls no more: closing
// many connections takes the proxy a moment.
func (b *bench) settled(enough float64) (float64, error) {
	last := 0.0
	for same := 0; ; {
		v, err := b.memory("rss")
		if err != nil || v <= enough {
			return v, err
		}
		if last != 0 && v > 0.98*last {
			if same++; same == 20 {
				return v, nil
			}
		} else {
			same = 0
		}
		last = v
	}
}

// transferMemory is how much the proxy's memory grows, at its peak, while about n
// bytes pass.
func transferMemory(n int64, do func(*bench, int, time.Duration) (figure, error)) func(*bench) (float64, string, error) {
	return func(b *bench) (float64, string, error) {
		if _, err := do(b, penH1, 0); err != nil { // no body, but the connections' buffers are there
			return 0, "", err
		}
		before, err := b.memory("reset")
		if err != nil {
			return 0, "", err
		}
		total := 0.0
		for total < float64(n) {
			f, err := do(b, penH1, time.Millisecond) // one body
			if err != nil {
				return 0, "", err
			}
			total += f.ops * 1e6
		}
		peak, err := b.memory("peak")
		return (peak - before) / 1e6, fmt.Sprintf("%.2f GB, RSS %.1f MB, at most %.1f MB", total/1e9, before/1e6, peak/1e6), err
	}
}

// celHook is the difference of two proxies that differ by one hook, asked in turn
// so that both see the same machine.
func celHook(b *bench) (float64, string, error) {
	req := request(h1Name, "/")
	without, err := b.dial(penH1, h1Name)
	if err != nil {
		return 0, "", err
	}
	defer without.c.Close()
	with, err := b.dial(penHook, h1Name)
	if err != nil {
		return 0, "", err
	}
	defer with.c.Close()
	const n = 4000
	var took [2][]time.Duration
	for i := range 2 * n {
		c := []*client{without, with}[i%2]
		begin := time.Now()
		if err := c.get(req); err != nil {
			return 0, "", err
		}
		took[i%2] = append(took[i%2], time.Since(begin))
	}
	var p50 [2]float64
	for i := range took {
		slices.Sort(took[i])
		p50[i] = float64(took[i][n/2].Nanoseconds()) / 1e3
	}
	return p50[1] - p50[0], fmt.Sprintf("p50 %.1f and %.1f µs, %d requests each", p50[0], p50[1], n), nil
}
