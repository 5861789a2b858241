package daemonctl

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode"

	"github.com/penstock/penstock/sandbox"
)

// FromCaller tells whether o is a caller's message.
func (o Op) FromCaller() bool {
	switch o {
	case OpOpen, OpJoin, OpNetwork, OpVerify, OpFlush, OpFreeze, OpAlive, OpEnd, OpList, OpKill, OpAudit, OpStatus:
		return true
	}
	return false
}

func (o Op) known() bool {
	switch o {
	case OpOpened, OpJoined, OpNetworked, OpVerified, OpFlushed, OpFrozen, OpNoted, OpEnded, OpSessions, OpKilled, OpDirectory, OpDaemon, OpError, OpEnding:
		return true
	}
	return o.FromCaller()
}

// Check tells what is wrong with m by itself, whoever sent it.
func (m *Message) Check() error {
	if !m.Op.known() {
		return fmt.Errorf("unknown op %.40q", string(m.Op))
	}
	for _, f := range []struct {
		name string
		set  bool
		ops  []Op
	}{
		{"version", m.Version != 0, []Op{OpOpen, OpList, OpKill, OpAudit, OpStatus}},
		{"open", m.Open != nil, []Op{OpOpen}},
		{"opened", m.Opened != nil, []Op{OpOpened}},
		{"sockets", len(m.Sockets) > 0, []Op{OpNetwork}},
		{"end", m.End != nil, []Op{OpEnd}},
		{"session", m.Session != "", []Op{OpKill, OpKilled}},
		{"daemon", m.Daemon != nil, []Op{OpDaemon}},
	} {
		has := false
		for _, op := range f.ops {
			has = has || op == m.Op
		}
		switch {
		case f.set && !has:
			return fmt.Errorf("%s has no field %s", m.Op, f.name)
		case !f.set && has:
			return fmt.Errorf("%s lacks the field %s", m.Op, f.name)
		}
	}
	if m.List != nil && m.Op != OpSessions {
		return fmt.Errorf("%s has no field list", m.Op)
	}
	if m.Failed && m.Op != OpEnding {
		return fmt.Errorf("%s has no field failed", m.Op)
	}
	if m.On && m.Op != OpFreeze {
		return fmt.Errorf("%s has no field on", m.Op)
	}
	if m.Text != "" && m.Op != OpError && m.Op != OpEnding && m.Op != OpFrozen || m.Hint != "" && m.Op != OpError {
		return fmt.Errorf("%s has no text", m.Op)
	}
	if err := line("text", m.Text, maxText); err != nil {
		return err
	}
	if err := line("hint", m.Hint, maxText); err != nil {
		return err
	}
	if err := line("session", m.Session, maxWord); err != nil {
		return err
	}
	if len(m.Sockets) > MaxFiles-1 {
		return fmt.Errorf("%d sockets, more than %d", len(m.Sockets), MaxFiles-1)
	}
	for _, s := range m.Sockets {
		if err := line("sockets", s, maxWord); err != nil {
			return err
		}
	}
	if m.End != nil {
		if m.End.ExitCode < 0 || m.End.ExitCode > 255 {
			return fmt.Errorf("exit code %d is none", m.End.ExitCode)
		}
		return line("reason", m.End.Reason, maxText)
	}
	if m.Open != nil {
		return m.Open.check()
	}
	return nil
}

// maxArgs bounds the number of a command's words; Encode bounds their size.
const maxArgs = 1024

func (o *Open) check() error {
	if len(o.Command) == 0 || len(o.Command) > maxArgs {
		return fmt.Errorf("a command of %d words", len(o.Command))
	}
	for _, f := range []struct {
		name, value string
		most        int
	}{{"workdir", o.Workdir, maxText}, {"tier", o.Tier, maxWord}, {"mode", o.Mode, maxWord}} {
		if f.value == "" {
			return fmt.Errorf("%s is empty", f.name)
		}
		if err := line(f.name, f.value, f.most); err != nil && f.name != "workdir" {
			return err
		}
		if len(f.value) > f.most {
			return fmt.Errorf("%s has more than %d bytes", f.name, f.most)
		}
	}
	if o.Mode != "enforce" && o.Mode != "audit" {
		return fmt.Errorf("mode %.40q is none of enforce, audit", o.Mode)
	}
	return checkLimits(&o.Limits)
}

// longest is the longest time that a session may be limited to.
const longest = 10 * 365 * 24 * time.Hour

func checkLimits(l *sandbox.Limits) error {
	if l.Memory < 0 || l.PIDs < 0 || l.OpenFiles < 0 || l.ReadRate < 0 || l.WriteRate < 0 || l.Wall < 0 || l.Wall > longest || l.Idle < 0 || l.Idle > longest {
		return errors.New("a limit is negative or without measure")
	}
	if math.IsNaN(l.CPUs) || l.CPUs < 0 || l.CPUs > 1<<20 {
		return errors.New("the limit of cpus is none")
	}
	return nil
}

// line refuses what could not stand in one line that people read.
func line(field, s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("%s has more than %d bytes", field, most)
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return fmt.Errorf("%s has a control character", field)
		}
	}
	return nil
}
