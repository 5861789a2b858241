package kill

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/e2e/invariants/host"
)

func TestMain(m *testing.M) {
	os.Exit(host.Main(m, map[string]func([]string) int{"storm": stormTool}))
}

// stormTool tries to get out by every way, again and again, until it is killed
// or stdin ends: args are an identity that allowed requests carry, the allowed
// origin's name, the denied one's, and an address outside. A child that has left
// its session does the same, so that it is not enough to kill the parent.
func stormTool(args []string) int {
	id, allowed, denied, addr := args[0], args[1], args[2], args[3]
	if len(args) == 4 {
		child := exec.Command(host.Tool, "tool", "storm", id+"-child", allowed, denied, addr, "child")
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := child.Start(); err != nil {
			fmt.Println("child:", err)
		}
	}
	go func() {
		for {
			if c, err := net.Dial("udp", addr); err == nil {
				c.Write([]byte("out"))
				c.Close()
			}
			if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
				c.SetDeadline(time.Now().Add(time.Second))
				fmt.Fprintf(c, "GET /%s HTTP/1.1\r\nHost: %s\r\n\r\n", id, denied)
				bufio.NewReader(c).ReadString('\n')
				c.Close()
			}
		}
	}()
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(url string) {
		if resp, err := client.Get(url); err == nil {
			resp.Body.Close()
		}
	}
	fmt.Println("storm")
	for n := 0; ; n++ {
		get(fmt.Sprintf("http://%s/%s/%d", allowed, id, n))
		get(fmt.Sprintf("http://%s/%s/%d", denied, id, n))
		if n == 0 {
			fmt.Println("first round over")
		}
	}
}
