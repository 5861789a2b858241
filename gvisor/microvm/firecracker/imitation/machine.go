package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/penstock/penstock/gvisor/microvm/wire"
)

// machine is what callers have made of it.
type machine struct {
	trouble trouble
	id      string

	mu      sync.Mutex
	started bool
	boot    map[string]any
	vsock   map[string]any
	asked   int // connections to the guest
}

func (m *machine) serve(l net.Listener) error {
	d, err := described()
	if err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go m.talk(d, conn)
	}
}

func (m *machine) talk(d *description, conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		q, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return
		}
		switch m.trouble {
		case silent:
			continue
		case garbage:
			fmt.Fprint(conn, "\x1b[2JOK whatever\r\n\r\n")
			return
		case endless:
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nX: ")
			for {
				if _, err := conn.Write(bytes.Repeat([]byte("x"), 1<<12)); err != nil {
					return
				}
			}
		}
		status, text := m.answer(d, q.Method, q.URL.Path, body)
		if text != "" {
			text = fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
		} else {
			text = "\r\n"
		}
		fmt.Fprintf(conn, "HTTP/1.1 %d \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n%s", status, text)
	}
}

func fault(format string, args ...any) (int, string) {
	return 400, fmt.Sprintf(`{"fault_message":%s}`, quoted(fmt.Sprintf(format, args...)))
}

func (m *machine) answer(d *description, method, path string, body []byte) (int, string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := method + " " + path
	fields, err := d.check(name, body, m.started)
	if err != nil {
		return fault("%v", err)
	}
	switch name {
	case "GET /":
		version, id, state := "1.17.0-dev", m.id, "Not started"
		if m.started {
			state = "Running"
		}
		if m.trouble == old {
			version = "1.5.0"
		}
		if m.trouble == other {
			id = "another"
		}
		return 200, fmt.Sprintf(`{"id":%s,"state":%q,"vmm_version":%q,"app_name":"Firecracker"}`, quoted(id), state, version)
	case "PUT /boot-source":
		for _, k := range []string{"kernel_image_path", "initrd_path"} {
			if p, ok := fields[k].(string); ok {
				if _, err := os.Stat(p); err != nil {
					return fault("The %s cannot be opened: %v", k, err)
				}
			}
		}
		m.boot = fields
	case "PUT /vsock":
		m.vsock = fields
	case "PUT /actions":
		if fields["action_type"] != "InstanceStart" {
			return fault("The requested operation is not supported before starting the microVM.")
		}
		if m.started {
			return fault("The requested operation is not supported after starting the microVM.")
		}
		if err := m.start(); err != nil {
			return fault("%v", err)
		}
		m.started = true
	}
	return 204, ""
}

// start does what InstanceStart does, but for the machine.
func (m *machine) start() error {
	if m.boot == nil {
		return says("Cannot start microvm without kernel configuration.")
	}
	if m.trouble == refuses {
		return says("Internal error while starting microVM: \x1b[31mno /dev/kvm")
	}
	kernel, err := os.ReadFile(m.boot["kernel_image_path"].(string))
	if err != nil || !bytes.HasPrefix(kernel, []byte("\x7fELF")) {
		return says("Cannot load kernel due to invalid memory configuration or invalid kernel image: %v", err)
	}
	if m.trouble == panics {
		fmt.Println("Kernel panic - not syncing: \x1b[2Jno init")
		os.Exit(0)
	}
	fmt.Println("booting\x1b[2J with " + fmt.Sprint(m.boot["boot_args"]))
	if m.vsock == nil || m.trouble == hangs {
		return nil
	}
	l, err := net.Listen("unix", m.vsock["uds_path"].(string))
	if err != nil {
		return says("Cannot create the vsock device: %v", err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go m.guest(conn)
		}
	}()
	return nil
}

// guest is the vsock device with the guest behind it, which listens at one port.
func (m *machine) guest(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	if err != nil {
		return
	}
	m.mu.Lock()
	m.asked++
	asked := m.asked
	listens := strings.Contains(fmt.Sprint(m.boot["boot_args"]), "penstock.vsock="+strings.TrimSuffix(strings.TrimPrefix(line, "CONNECT "), "\n"))
	m.mu.Unlock()
	if !listens || m.trouble == late && asked < 3 {
		return
	}
	if m.trouble == rude {
		fmt.Fprint(conn, "\x1b]0;HELLO 9\n")
		return
	}
	fmt.Fprintf(conn, "OK %d\n", 1<<30)
	switch m.trouble {
	case mute:
	case wrong:
		fmt.Fprint(conn, "GET / HTTP/1.1\r\n")
	default:
		wire.NewConn(conn).Send(wire.Frame{Kind: wire.Hello}) //nolint:errcheck // nobody is there
	}
	io.Copy(io.Discard, r) //nolint:errcheck // until the host has heard enough
}
