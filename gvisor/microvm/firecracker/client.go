// Package firecracker speaks with Firecracker: its API over a unix socket, the streams of
// its vsock device, and the directory in which its jailer holds it.
//
// It starts no process and knows no machine: it is values, files and sockets. The API is
// that of Firecracker 1.8 and later, as far as one boot needs it; what is not used is not
// here. Requests and answers are written and read by this package, as the program that
// uses it is also the first process of each machine, which an emulated processor unpacks:
// net/http would make it half as large again.
//
// # Hazards
//
// A machine's kernel is hostile once its command has used a bug of it, and Firecracker
// with it after a bug of Firecracker's. Then the answers are an attacker's: an endless
// one, one that never comes, one whose message clears the terminal, a stream that begins
// with something else. Each call ends with its context, an answer has at most maxAnswer
// bytes, what it says is quoted, and nothing of it names a file or a size here. A jail's
// names come from this side only, and all of it is below one directory.
package firecracker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"syscall"
	"time"
)

// maxPath is the longest path of a unix socket, unix(7).
const maxPath = 107

// Client asks one Firecracker. Calls may be made at once.
type Client struct{ path string }

// New returns a client for the unix socket at a path.
func New(path string) (*Client, error) {
	if err := socketPath(path); err != nil {
		return nil, err
	}
	return &Client{path}, nil
}

func socketPath(path string) error {
	if len(path) > maxPath {
		return fmt.Errorf("the socket's path %q has more than %d bytes", path, maxPath)
	}
	return nil
}

// Instance is what Firecracker says of itself.
type Instance struct {
	ID      string `json:"id"`
	State   string `json:"state"`
	Version string `json:"vmm_version"`
}

// NotStarted is the state of an instance that has no machine yet.
const NotStarted = "Not started"

// Machine is the machine's size.
type Machine struct {
	VCPUs  int   `json:"vcpu_count"`
	Memory int64 `json:"mem_size_mib"`
}

// Boot is what the machine boots; paths are as Firecracker sees them.
type Boot struct {
	Kernel    string `json:"kernel_image_path"`
	Initial   string `json:"initrd_path"`
	Arguments string `json:"boot_args"`
}

// Vsock is the device through which the host and the guest speak.
type Vsock struct {
	CID  uint32 `json:"guest_cid"` // 3 or more
	Path string `json:"uds_path"`  // of the socket that Firecracker makes
}

// Ready waits until Firecracker listens, and asks what it is.
func (c *Client) Ready(ctx context.Context) (*Instance, error) {
	conn, err := appear(ctx, c.path)
	if err != nil {
		return nil, fmt.Errorf("wait for Firecracker's socket: %w", err)
	}
	conn.Close()
	i := &Instance{}
	answer, err := c.call(ctx, "GET", "/", nil)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(answer, i); err != nil || i.ID == "" || i.State == "" || i.Version == "" {
		return nil, fmt.Errorf("firecracker: GET /: no instance: %s", quote(string(answer)))
	}
	return i, nil
}

// Machine sets the machine's size.
func (c *Client) Machine(ctx context.Context, m Machine) error {
	return c.put(ctx, "/machine-config", m)
}

// Boot sets what the machine boots.
func (c *Client) Boot(ctx context.Context, b Boot) error { return c.put(ctx, "/boot-source", b) }

// Vsock gives the machine its device.
func (c *Client) Vsock(ctx context.Context, v Vsock) error { return c.put(ctx, "/vsock", v) }

// Start starts the machine.
func (c *Client) Start(ctx context.Context) error {
	return c.put(ctx, "/actions", map[string]string{"action_type": "InstanceStart"})
}

func (c *Client) put(ctx context.Context, path string, v any) error {
	body, err := json.Marshal(v)
	if err == nil {
		_, err = c.call(ctx, "PUT", path, body)
	}
	return err
}

// Error is a refusal of Firecracker's.
type Error struct {
	Call   string // method and path
	Status int
	Fault  string // as it came
}

func (e *Error) Error() string {
	if e.Fault == "" {
		return fmt.Sprintf("firecracker: %s: status %d", e.Call, e.Status)
	}
	return fmt.Sprintf("firecracker: %s: status %d: %s", e.Call, e.Status, quote(e.Fault))
}

// quote makes a line of what somebody else said.
func quote(s string) string {
	const most = 500
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "…"
	}
	return strconv.QuoteToASCII(s)
}

// pause is how long is waited for what has no other sign.
const pause = 5 * time.Millisecond

// appear connects to a socket as soon as somebody listens there.
func appear(ctx context.Context, path string) (net.Conn, error) {
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		// A unix socket is connected to at once, or not: this needs no context.
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.EAGAIN) {
			return nil, err
		}
		if err := wait(ctx); err != nil {
			return nil, err
		}
	}
}

func wait(ctx context.Context) error {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// stopped returns the cause of the context's end in place of an error that it led to.
func stopped(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
