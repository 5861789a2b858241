package shim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/penstock/penstock/sandbox/confine"
)

// Config is the shim's orders.
type Config struct {
	Argv []string `json:"argv"` // Argv[0] is looked up in Env's PATH, as execvp does
	Env  []string `json:"env"`  // the whole environment
	Dir  string   `json:"dir"`  // absolute
	// Umask of the command, 0 to 0777; negative leaves it.
	Umask int `json:"umask"`
	// Terminal makes the pseudo-terminal among the three standard streams the
	// command's controlling terminal.
	Terminal bool             `json:"terminal,omitempty"`
	Rlimits  []Rlimit         `json:"rlimits,omitempty"`
	Rules    confine.PenRules `json:"rules"`
	// Given is how many descriptors come with the orders. The command has them from
	// sandbox.FirstGiven on.
	Given int `json:"given,omitempty"`
	// Tries is done when the shim has restricted itself.
	Tries *Tries `json:"tries,omitempty"`
}

// Tries is what has to be refused in a pen whose restrictions can't be read back from
// the kernel. Whatever of it is not refused ends the pen before the command.
type Tries struct {
	Open    []string         `json:"open,omitempty"`    // files that are there: to read, and to write
	Connect []netip.AddrPort `json:"connect,omitempty"` // IPv4, TCP
}

// maxTries bounds the two lists together.
const maxTries = 16

// Rlimit is one resource limit of setrlimit(2), soft and hard alike.
type Rlimit struct {
	Resource int    `json:"resource"`
	Value    uint64 `json:"value"`
}

// Bounds of what is read from the other side.
const (
	maxConfig  = 16 << 20 // more than the kernel lets execve take
	maxMessage = 4096
	maxGiven   = 4
)

// message is what goes over the socket, one per packet.
type message struct {
	Kind     string `json:"kind"` // orders, ready, go, failed
	Step     string `json:"step,omitempty"`
	Errno    int    `json:"errno,omitempty"`
	Text     string `json:"text,omitempty"`
	Landlock int    `json:"landlock,omitempty"` // ABI applied
	Refused  int    `json:"refused,omitempty"`  // of what had to be
}

const (
	kindOrders = "orders"
	kindReady  = "ready"
	kindGo     = "go"
	kindFailed = "failed"
)

// steps of the shim, as they appear in errors.
const (
	stepOrders  = "read orders"
	stepLimits  = "set limits"
	stepSession = "start session"
	stepDir     = "enter directory"
	stepConfine = "confine"
	stepExec    = "execute"
)

// decode reads one packet. The shim is part of the pen: nothing about its
// packets is taken for granted.
func decode(b []byte) (message, error) {
	var m message
	if len(b) > maxMessage {
		return m, fmt.Errorf("read message: %d bytes, more than %d", len(b), maxMessage)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return message{}, fmt.Errorf("read message: %w", err)
	}
	if d.More() {
		return message{}, errors.New("read message: more than one in a packet")
	}
	switch m.Kind {
	case kindOrders, kindReady, kindGo, kindFailed:
		return m, nil
	}
	return message{}, fmt.Errorf("read message: unknown kind %q", clip(m.Kind))
}

func encode(m message) []byte {
	m.Text = clip(m.Text)
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return b
}

func clip(s string) string {
	const most = 512
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "?")
}

// check refuses orders that the kernel would read differently than they are
// meant: a NUL ends a string early.
func (c *Config) check() error {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return errors.New("no command")
	}
	for _, list := range [][]string{c.Argv, c.Env, {c.Dir}} {
		for _, s := range list {
			if strings.Contains(s, "\x00") {
				return fmt.Errorf("%q has a NUL byte", clip(s))
			}
		}
	}
	if !strings.HasPrefix(c.Dir, "/") {
		return fmt.Errorf("directory %q is not absolute", clip(c.Dir))
	}
	if c.Given < 0 || c.Given > maxGiven {
		return fmt.Errorf("%d descriptors are given, more than %d", c.Given, maxGiven)
	}
	if c.Tries == nil {
		return nil
	}
	if len(c.Tries.Open)+len(c.Tries.Connect) > maxTries {
		return fmt.Errorf("more than %d things are to be tried", maxTries)
	}
	for _, a := range c.Tries.Connect {
		if !a.Addr().Is4() {
			return fmt.Errorf("%s is no IPv4 address", a)
		}
	}
	return nil
}

// decodeConfig reads the orders' document.
func decodeConfig(b []byte) (*Config, error) {
	var c Config
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("read orders: %w", err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("read orders: %w", err)
	}
	return &c, nil
}
