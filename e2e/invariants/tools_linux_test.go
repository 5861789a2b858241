package invariants

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The tools run inside a pen. They print a line per attempt, which the tests read.

// toolTimeout bounds each attempt of a tool: longer than any deadline of the
// proxy's, so that a hang is seen as one.
const toolTimeout = 25 * time.Second

// client makes a connection per request and follows nothing.
func client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       toolTimeout,
	}
}

// fetchTool gets each URL and prints "URL STATUS first line of the body".
func fetchTool(urls []string) int {
	c := client()
	for _, u := range urls {
		resp, err := c.Get(u)
		if err != nil {
			fmt.Printf("%s failed: %v\n", u, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		line := strings.ReplaceAll(strings.TrimSpace(string(body)), "\n", " | ")
		fmt.Printf("%s %d %s %v\n", u, resp.StatusCode, line, err)
	}
	return 0
}

// floodTool gets a URL with a counter until it is refused or args[1] times,
// then waits for stdin to end and tries once more.
func floodTool(args []string) int {
	c := client()
	var most int
	fmt.Sscan(args[1], &most)
	get := func(i int) (int, string) {
		resp, err := c.Get(fmt.Sprintf("%s/%d", args[0], i))
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, strings.ReplaceAll(strings.TrimSpace(string(body)), "\n", " | ")
	}
	i := 0
	for ; i < most; i++ {
		if code, text := get(i); code != 200 {
			fmt.Printf("refused at %d: %d %s\n", i, code, text)
			break
		}
	}
	fmt.Println("flood over")
	io.Copy(io.Discard, os.Stdin)
	code, text := get(i + 1)
	fmt.Printf("again: %d %s\n", code, text)
	return 0
}

// sendTool tries to get a byte to each ADDRESS:PORT by TCP and UDP, to each
// address by raw sockets, and prints what came of it.
func sendTool(targets []string) int {
	for _, t := range targets {
		sendTCP(t)
		sendUDP(t)
		host, _, _ := net.SplitHostPort(t)
		sendRaw(host)
	}
	fmt.Println("sent all")
	return 0
}

func sendTCP(t string) {
	d := net.Dialer{Timeout: toolTimeout}
	c, err := d.Dial("tcp", t)
	if err != nil {
		fmt.Printf("tcp %s refused: %v\n", t, err)
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(toolTimeout))
	io.WriteString(c, "GET /sent HTTP/1.1\r\nHost: x\r\n\r\n")
	line, err := bufio.NewReader(c).ReadString('\n')
	fmt.Printf("tcp %s %q %v\n", t, line, err)
}

func sendUDP(t string) {
	c, err := net.Dial("udp", t)
	if err != nil {
		fmt.Printf("udp %s refused: %v\n", t, err)
		return
	}
	defer c.Close()
	_, err = c.Write([]byte("out"))
	fmt.Printf("udp %s written: %v\n", t, err)
}

func sendRaw(host string) {
	ip := net.ParseIP(host)
	for _, kind := range []int{unix.SOCK_RAW, unix.SOCK_DGRAM} {
		family, proto := unix.AF_INET, unix.IPPROTO_ICMP
		if ip.To4() == nil {
			family, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
		}
		fd, err := unix.Socket(family, kind, proto)
		if err != nil {
			fmt.Printf("icmp %s refused: %v\n", host, err)
			continue
		}
		var to unix.Sockaddr = &unix.SockaddrInet6{Addr: [16]byte(ip.To16())}
		echo := []byte{128, 0, 0, 0, 0, 1, 0, 1}
		if v4 := ip.To4(); v4 != nil {
			to, echo[0] = &unix.SockaddrInet4{Addr: [4]byte(v4)}, 8
		}
		fmt.Printf("icmp %s sent: %v\n", host, unix.Sendto(fd, echo, 0, to))
		unix.Close(fd)
	}
}

// askTool asks for each name at each of several servers, by UDP and TCP, for
// several types, and prints how many answers came.
func askTool(names []string) int {
	answers := 0
	for _, name := range names {
		for _, server := range []string{"192.0.2.1:53", "203.0.113.53:53", "8.8.8.8:53", "127.0.0.1:53"} {
			for _, network := range []string{"udp", "tcp"} {
				for _, kind := range []byte{1, 28, 16, 15, 65, 12, 255} {
					if answer := ask(network, server, name, kind); len(answer) > 0 {
						answers++
					}
				}
			}
		}
		r := &net.Resolver{PreferGo: true}
		addrs, err := r.LookupHost(context.Background(), name)
		fmt.Println(name, addrs, err)
	}
	fmt.Println("answers", answers)
	return 0
}

func ask(network, server, name string, kind byte) []byte {
	c, err := net.Dial(network, server)
	if err != nil {
		return nil
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(toolTimeout))
	q := []byte{0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(name, ".") {
		q = append(append(q, byte(len(label))), label...)
	}
	q = append(q, 0, 0, kind, 0, 1)
	if network == "tcp" {
		q = append([]byte{0, byte(len(q))}, q...)
	}
	if _, err := c.Write(q); err != nil {
		return nil
	}
	buf := make([]byte, 4096)
	n, _ := c.Read(buf)
	return buf[:n]
}

// holdTool says that it runs and does, until its stdin ends, what lines tell it:
// to send (see sendTool) or to fetch.
func holdTool([]string) int {
	fmt.Println("holding")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch f[0] {
		case "send":
			sendTool(f[1:])
		case "fetch":
			fetchTool(f[1:])
			fmt.Println("fetched all")
		}
	}
	return 0
}

// writeTool tries to write to, replace, remove and rename each file, and prints
// what was possible.
func writeTool(files []string) int {
	for _, name := range files {
		before, _ := os.ReadFile(name)
		say := func(how string, err error) {
			after, _ := os.ReadFile(name)
			if err == nil || !bytes.Equal(before, after) {
				fmt.Printf("CHANGED %s by %s\n", name, how)
				return
			}
			fmt.Printf("kept %s from %s: %v\n", name, how, err)
		}
		say("write", os.WriteFile(name, []byte("version: 1\negress: {default: allow}\n"), 0o644))
		other := name + ".other"
		os.WriteFile(other, []byte("version: 1\negress: {default: allow}\n"), 0o644)
		say("rename over it", os.Rename(other, name))
		say("rename", os.Rename(name, name+".gone"))
		say("remove", os.Remove(name))
		say("chmod", os.Chmod(name, 0o666))
		say("truncate", os.Truncate(name, 0))
	}
	return 0
}
