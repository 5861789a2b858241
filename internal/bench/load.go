package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

func rows() []row {
	both := func(ours, ref int) map[string]int { return map[string]int{"penstock": ours, "ref-intercept": ref} }
	relay := func(ours, ref int) map[string]int { return map[string]int{"penstock": ours, "ref-relay": ref} }
	i := func(r row) row { r.ours, r.ref = "penstock", "ref-intercept"; return r }
	p := func(r row) row { r.ours, r.ref = "penstock", "ref-relay"; return r }
	return []row{
		i(row{name: "intercepted, keep-alive, 32 connections", unit: "requests/s", larger: true, reach: 0.85, cpu: 1.25, port: both(penH1, refH1), do: keepAlive(h1Name, 32)}),
		i(row{name: "the same with HTTP/2", unit: "requests/s", larger: true, reach: 0.8, port: both(penTLS, refTLS), do: http2Load(32)}),
		i(row{name: "new intercepted connection each request", unit: "requests/s", larger: true, reach: 0.9, port: both(penH1, refH1), do: newConnections(h1Name, 8)}),
		i(row{name: "intercepted latency, 1 connection, p50", unit: "µs", reach: 1.1, port: both(penH1, refH1), do: latency(h1Name)}),
		i(row{name: "first SSE event", unit: "µs", reach: 1.3, port: both(penH1, refH1), do: firstEvent}),
		i(row{name: "intercepted bulk, down", unit: "MB/s", larger: true, reach: 1, cpu: 1.1, port: both(penH1, refH1), do: bulkDown(h1Name)}),
		i(row{name: "intercepted bulk, up", unit: "MB/s", larger: true, reach: 1, cpu: 1.1, port: both(penH1, refH1), do: bulkUp}),
		p(row{name: "pass-through, keep-alive, 32 connections", unit: "requests/s", larger: true, reach: 0.9, port: relay(penPass, relayTLS), do: keepAlive(passName, 32)}),
		p(row{name: "pass-through, new connection each request", unit: "requests/s", larger: true, reach: 0.9, port: relay(penPass, relayTLS), do: newConnections(passName, 8)}),
		p(row{name: "pass-through bulk, down", unit: "MB/s", larger: true, reach: 0.95, port: relay(penPass, relayTLS), do: bulkDown(passName)}),
		p(row{name: "raw TCP, new connection each request", unit: "requests/s", larger: true, reach: 0.9, port: relay(penEcho, relayEcho), do: rawConnections(8)}),
		p(row{name: "raw TCP, ping-pong, 32 connections", unit: "requests/s", larger: true, reach: 0.9, port: relay(penEcho, relayEcho), do: rawEcho(32)}),
		p(row{name: "raw TCP bulk, down", unit: "MB/s", larger: true, reach: 0.95, port: relay(penBulk, relayBulk), do: rawBulk}),
	}
}

// rivalName is the authority of proxies that are not ours.
const rivalName = "rival of the bench"

// client is one TLS connection that speaks HTTP/1.1 with as little work as can be.
type client struct {
	c net.Conn
	r *bufio.Reader
}

func (b *bench) dial(port int, name string) (*client, error) {
	raw, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return nil, err
	}
	if target := connectTo(port); target != "" {
		if err := connect(raw, target); err != nil {
			raw.Close()
			return nil, err
		}
	}
	c := tls.Client(raw, &tls.Config{RootCAs: b.world.pool, ServerName: name, NextProtos: []string{"http/1.1"}})
	if err := c.Handshake(); err != nil {
		raw.Close()
		return nil, err
	}
	if by := c.ConnectionState().PeerCertificates[0].Issuer.CommonName; connectTo(port) != "" && by != rivalName {
		raw.Close()
		return nil, fmt.Errorf("the certificate is by %q: the proxy does not take TLS apart", by)
	}
	return &client{c, bufio.NewReaderSize(c, 32<<10)}, nil
}

func host(name string) string {
	switch name {
	case h1Name:
		return name + ":" + strconv.Itoa(originH1)
	default:
		return name + ":" + strconv.Itoa(originTLS)
	}
}

func request(name, path string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench/1\r\nAccept: */*\r\nAuthorization: Bearer 0123456789abcdef0123456789abcdef\r\n\r\n", path, host(name))
}

// do sends a request and reads the answer's head; it returns the body's length.
func (c *client) do(req []byte) (int64, error) {
	if _, err := c.c.Write(req); err != nil {
		return 0, err
	}
	length := int64(-1)
	for first := true; ; first = false {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			return 0, fmt.Errorf("answer: %q", line)
		}
		if len(line) == 2 {
			return length, nil
		}
		if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length, _ = strconv.ParseInt(string(bytes.TrimSpace(v)), 10, 64)
		}
	}
}

func (c *client) get(req []byte) error {
	n, err := c.do(req)
	if err != nil {
		return err
	}
	if n < 0 {
		return errors.New("answer without a length")
	}
	_, err = c.r.Discard(int(n))
	return err
}

// load runs work on n goroutines for d and counts.
func load(n int, d time.Duration, work func(stop func() bool, count *atomic.Int64) error) (figure, error) {
	var count atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, n)
	begin := time.Now()
	end := begin.Add(d)
	for range n {
		wg.Go(func() {
			if err := work(func() bool { return time.Now().After(end) }, &count); err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	took := time.Since(begin).Seconds()
	select {
	case err := <-errs:
		return figure{}, err
	default:
	}
	ops := float64(count.Load())
	return figure{ops / took, ops}, nil
}

func keepAlive(name string, n int) func(*bench, int, time.Duration) (figure, error) {
	return func(b *bench, port int, d time.Duration) (figure, error) {
		req := request(name, "/")
		return load(n, d, func(stop func() bool, count *atomic.Int64) error {
			c, err := b.dial(port, name)
			if err != nil {
				return err
			}
			defer c.c.Close()
			for !stop() {
				if err := c.get(req); err != nil {
					return err
				}
				count.Add(1)
			}
			return nil
		})
	}
}

func newConnections(name string, n int) func(*bench, int, time.Duration) (figure, error) {
	return func(b *bench, port int, d time.Duration) (figure, error) {
		req := request(name, "/")
		return load(n, d, func(stop func() bool, count *atomic.Int64) error {
			for !stop() {
				c, err := b.dial(port, name)
				if err != nil {
					return err
				}
				err = c.get(req)
				c.c.Close()
				if err != nil {
					return err
				}
				count.Add(1)
			}
			return nil
		})
	}
}

func http2Load(n int) func(*bench, int, time.Duration) (figure, error) {
	return func(b *bench, port int, d time.Duration) (figure, error) {
		return load(n, d, func(stop func() bool, count *atomic.Int64) error {
			tr := &http.Transport{ForceAttemptHTTP2: true, DisableCompression: true, TLSClientConfig: &tls.Config{RootCAs: b.world.pool},
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					var d net.Dialer
					return d.DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
				}}
			defer tr.CloseIdleConnections()
			for !stop() {
				req, err := http.NewRequest("GET", "https://"+host(originName)+"/", nil)
				if err != nil {
					return err
				}
				resp, err := tr.RoundTrip(req)
				if err != nil {
					return err
				}
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 || resp.ProtoMajor != 2 {
					return fmt.Errorf("%s %s: %v", resp.Proto, resp.Status, err)
				}
				count.Add(1)
			}
			return nil
		})
	}
}

func latency(name string) func(*bench, int, time.Duration) (figure, error) {
	return func(b *bench, port int, d time.Duration) (figure, error) {
		c, err := b.dial(port, name)
		if err != nil {
			return figure{}, err
		}
		defer c.c.Close()
		req := request(name, "/")
		var all []time.Duration
		for end := time.Now().Add(d); time.Now().Before(end); {
			t := time.Now()
			if err := c.get(req); err != nil {
				return figure{}, err
			}
			all = append(all, time.Since(t))
		}
		slices.Sort(all)
		return figure{float64(all[len(all)/2].Nanoseconds()) / 1e3, float64(len(all))}, nil
	}
}

func firstEvent(b *bench, port int, d time.Duration) (figure, error) {
	c, err := b.dial(port, h1Name)
	if err != nil {
		return figure{}, err
	}
	defer c.c.Close()
	req := request(h1Name, "/sse")
	var all []time.Duration
	for end := time.Now().Add(d); time.Now().Before(end); {
		t := time.Now()
		if _, err := c.do(req); err != nil {
			return figure{}, err
		}
		for first := true; ; {
			line, err := c.r.ReadSlice('\n')
			if err != nil {
				return figure{}, err
			}
			if first && bytes.HasPrefix(line, []byte("data: first")) {
				all = append(all, time.Since(t))
				first = false
			}
			if bytes.HasPrefix(line, []byte("0\r\n")) {
				break
			}
		}
		if _, err := c.r.Discard(2); err != nil {
			return figure{}, err
		}
	}
	slices.Sort(all)
	return figure{float64(all[len(all)/2].Nanoseconds()) / 1e3, float64(len(all))}, nil
}

func rate(n int64, begin time.Time) (figure, error) {
	return figure{float64(n) / 1e6 / time.Since(begin).Seconds(), float64(n) / 1e6}, nil
}

func bulkDown(name string) func(*bench, int, time.Duration) (figure, error) {
	return func(b *bench, port int, d time.Duration) (figure, error) {
		c, err := b.dial(port, name)
		if err != nil {
			return figure{}, err
		}
		defer c.c.Close()
		var total int64
		buf := make([]byte, 256<<10)
		begin := time.Now()
		for time.Since(begin) < d {
			n, err := c.do(request(name, "/bulk"))
			if err != nil {
				return figure{}, err
			}
			if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(c.r, n), buf); err != nil || n != bulkSize {
				return figure{}, fmt.Errorf("%d bytes: %w", n, err)
			}
			total += n
		}
		return rate(total, begin)
	}
}

func bulkUp(b *bench, port int, d time.Duration) (figure, error) {
	c, err := b.dial(port, h1Name)
	if err != nil {
		return figure{}, err
	}
	defer c.c.Close()
	head := fmt.Appendf(nil, "POST /up HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", host(h1Name), bulkSize)
	buf := make([]byte, 256<<10)
	var total int64
	begin := time.Now()
	for time.Since(begin) < d {
		if _, err := c.c.Write(head); err != nil {
			return figure{}, err
		}
		for n := int64(0); n < bulkSize; n += int64(len(buf)) {
			if _, err := c.c.Write(buf); err != nil {
				return figure{}, err
			}
		}
		n, err := c.do(nil)
		if err != nil {
			return figure{}, err
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(c.r, body); err != nil || string(body) != strconv.FormatInt(bulkSize, 10) {
			return figure{}, fmt.Errorf("answer %q: %w", body, err)
		}
		total += bulkSize
	}
	return rate(total, begin)
}

func rawConnections(n int) func(*bench, int, time.Duration) (figure, error) {
	return func(_ *bench, port int, d time.Duration) (figure, error) {
		return load(n, d, func(stop func() bool, count *atomic.Int64) error {
			buf := make([]byte, 64)
			for !stop() {
				c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
				if err != nil {
					return err
				}
				c.Write(buf)
				_, err = io.ReadFull(c, buf)
				c.Close()
				if err != nil {
					return err
				}
				count.Add(1)
			}
			return nil
		})
	}
}

func rawEcho(n int) func(*bench, int, time.Duration) (figure, error) {
	return func(_ *bench, port int, d time.Duration) (figure, error) {
		return load(n, d, func(stop func() bool, count *atomic.Int64) error {
			c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
			if err != nil {
				return err
			}
			defer c.Close()
			buf := make([]byte, 64)
			for !stop() {
				c.Write(buf)
				if _, err := io.ReadFull(c, buf); err != nil {
					return err
				}
				count.Add(1)
			}
			return nil
		})
	}
}

func rawBulk(_ *bench, port int, d time.Duration) (figure, error) {
	buf := make([]byte, 1<<20)
	var total int64
	begin := time.Now()
	for time.Since(begin) < d {
		c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			return figure{}, err
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, buf)
		c.Close()
		if err != nil || n != bulkSize {
			return figure{}, fmt.Errorf("%d bytes: %w", n, err)
		}
		total += n
	}
	return rate(total, begin)
}
