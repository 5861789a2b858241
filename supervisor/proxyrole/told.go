//go:build linux || darwin

package proxyrole

import (
	"context"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/ebpf/events"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// hear reads what the tier's own kernel, a process in the pen, tells of the command's
// processes. It is believed for the records, and for nothing else: see
// netproxy.Config.Told.
func (e *engine) hear(f *os.File, tier string) (err error) {
	e.told, err = events.Follow(f, events.Options{
		SaidBy:   tier,
		Notify:   func(events.Event, *hooks.Process) {},
		Ended:    func(x events.Ended) { e.writer.Note(e.exit(&x)) },
		Executed: func(x events.Executed) { e.writer.Note(e.execution(&x)) },
		Opened:   func(x events.Opened) { e.writer.Note(e.access(&x, tier)) },
		Lost: func(n uint64) {
			e.writer.Note(&audit.Loss{Count: n, Reason: "events of the pen", Detail: "that " + tier + " told: some processes, connections and files have no record"})
		},
	})
	return err
}

// teller is netproxy.Config.Told, nil if there is nobody to hear.
func (e *engine) teller(files map[string]*os.File) whoFunc {
	if files[proxyctl.FileTold] == nil {
		return nil
	}
	return func(ctx context.Context, client, server netip.AddrPort) *hooks.Process {
		return e.told.Who(ctx, client, server)
	}
}

// exit is what the audit says of a process that ended, or of many.
func (e *engine) exit(x *events.Ended) audit.Event {
	signal := ""
	if x.Signal != 0 {
		if signal = unix.SignalName(syscall.Signal(x.Signal)); signal == "" {
			signal = "signal " + strconv.Itoa(x.Signal)
		}
	}
	if x.More > 0 {
		l := &audit.Limit{Kind: "exit-records", Count: x.More, Detail: signal, Action: "counted"}
		switch {
		case x.OOM:
			l.Detail += ", for want of memory"
		case signal == "":
			l.Detail = "exits of processes that made connections or were refused something"
		}
		return l
	}
	p := e.proxy.Exit(x.Who)
	p.ExitCode, p.Signal, p.OOM, p.Connections, p.Refusals = x.Code, signal, x.OOM, x.Connections, x.Refusals
	return &p
}

// execution is what the audit says of a process that executes a file, or of many.
func (e *engine) execution(x *events.Executed) audit.Event {
	if x.More > 0 {
		return &audit.Limit{Kind: "exec-records", Count: x.More, Action: "counted"}
	}
	p := e.proxy.Executed(x.Who)
	return &p
}

// access is what the audit says of a watched file, or of many.
func (e *engine) access(x *events.Opened, tier string) audit.Event {
	if x.More > 0 {
		return &audit.Limit{Kind: "access-records", Count: x.More, Action: "counted"}
	}
	a := &audit.Access{Path: x.Path, Write: x.Write, SaidBy: tier}
	if x.Errno != 0 {
		if a.Error = unix.ErrnoName(syscall.Errno(x.Errno)); a.Error == "" {
			a.Error = "unknown"
		}
	}
	if x.Who != nil {
		a.PID, a.Exe = x.Who.PID, x.Who.Exe.Path
		a.Process, _ = e.proxy.Number(x.Who) // the attempt is worth recording all the same
	}
	return a
}
