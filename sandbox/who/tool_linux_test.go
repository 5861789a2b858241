package who

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
)

// toolRole is os.Args[1] of the test binary as a client in the pen.
const toolRole = "role:test-tool"

func toolMain(args []string) int {
	if err := tool(args); err != nil {
		fmt.Fprintln(os.Stderr, "tool:", err)
		return 1
	}
	return 0
}

func tool(args []string) error {
	switch args[0] {
	case "dial": // ADDR:PORT COUNT: connections one after the other
		n, _ := strconv.Atoi(args[2])
		for i := range n {
			if err := dial(args[1], strconv.Itoa(i)); err != nil {
				return err
			}
		}
	case "many": // ADDR:PORT PROCESSES COUNT: each of the processes dials
		n, _ := strconv.Atoi(args[2])
		self, err := os.Executable()
		if err != nil {
			return err
		}
		var all sync.WaitGroup
		errs := make(chan error, n)
		for range n {
			cmd := exec.Command(self, toolRole, "dial", args[1], args[3])
			cmd.Stderr = os.Stderr
			all.Go(func() { errs <- cmd.Run() })
		}
		all.Wait()
		for range n {
			if err := <-errs; err != nil {
				return err
			}
		}
	case "idle": // until standard input ends
		fmt.Println("idle")
		os.Stdin.Read(make([]byte, 1)) //nolint:errcheck // the end is what is waited for
	}
	return nil
}

// dial connects, says who it is and waits for the answer.
func dial(addr, what string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "%d %s\n", os.Getpid(), what); err != nil {
		return err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || answer != "ok\n" {
		return fmt.Errorf("answer %q: %w", answer, err)
	}
	return nil
}
