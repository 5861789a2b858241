package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/internal/version"
	"github.com/penstock/penstock/supervisor/daemon"
	"github.com/penstock/penstock/supervisor/daemon/settings"
	"github.com/penstock/penstock/supervisor/daemonctl"
)

func newSuperviseCmd() *cobra.Command {
	var o daemon.Options
	var status, asJSON bool
	cmd := &cobra.Command{
		Use:   "supervise",
		Short: "Be the privileged supervisor of this machine",
		Long: `Be the privileged supervisor of this machine: a service, started by root, that
gives every user's pens what a user can't have. With it, penstock run gets
control groups, eBPF, a proxy under a user id of its own, the administrator's
policy that no user can widen, and an audit that its user can read and not
change. It builds no pen and starts no command: penstock run does, with the
user's own rights, as without it.

It is mostly started by systemd (penstock.socket), which passes the socket; then
--socket and --group don't count. Without systemd it opens the socket itself,
and the members of a group may connect.

SIGTERM ends it, and with it all sessions: each pen is killed, its proxy writes
the last record, and the ledger is closed. When it is killed, proxies and pens
die too, and the next one removes what is left.

The settings file is YAML that only root may write; an unknown key is an error.
These are the keys with their defaults:

  quota:                      # what one user may have; none means no limit
    sessions: 64              # at once
    connections: 256          # to the supervisor, at once
    rate: 200                 # connections and requests per second
    memory: none              # of all sessions together, e.g. 8G
    pids: 8192                # processes and threads of all sessions together
    cpus: none                # of all sessions together, e.g. 4
    audit_bytes: 8G           # kept; no session begins beyond it
    session_audit_bytes: 1G   # of one session; beyond it every request is denied
  proxies:
    first_uid: 2000000000     # user ids of proxies begin here
    most: 4096                # at once
    idle: 2                   # started before they are needed
  setup_time: 1m              # for building a pen`,
		Example: `  systemctl enable --now penstock.socket
  penstock supervise --group staff
  penstock supervise --status --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON && !status {
				return &exitError{code: 2, err: &usageError{cmd: cmd.CommandPath(), err: errors.New("--json needs --status")}}
			}
			if status {
				return printDaemon(cmd.Context(), cmd.OutOrStdout(), o.Socket, asJSON)
			}
			return supervise(cmd.Context(), o, cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Socket, "socket", daemonctl.Path, "listen at this `path`")
	f.StringVar(&o.Group, "group", "penstock", "whose members may connect")
	f.StringVar(&o.State, "state", "/var/lib/penstock", "keep audits in this `directory`, which only root may enter")
	f.StringVar(&o.Policy, "policy", "/etc/penstock/policy.yaml", "the administrator's policy `file`, which binds every user")
	f.StringVar(&o.Settings, "config", settings.Path, "the settings `file`")
	f.StringVar(&o.Name, "name", "", "`name` of its control groups, for a second one on a machine (default: penstock)")
	f.BoolVar(&status, "status", false, "ask the running supervisor what it can do")
	f.BoolVar(&asJSON, "json", false, "with --status: print JSON")
	return cmd
}

// supervise runs the service until a signal.
func supervise(ctx context.Context, o daemon.Options, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// A file that may grow no more is an error of a write, not the end.
	signal.Ignore(syscall.SIGXFSZ, syscall.SIGHUP)
	var err error
	if o.Listener, err = inheritedSocket(); err != nil {
		return err
	}
	manager := os.Getenv("NOTIFY_SOCKET")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET"} {
		os.Unsetenv(name)
	}
	o.Version = version.String()
	o.Log = func(format string, args ...any) {
		fmt.Fprintf(stderr, "penstock: %s\n", text.Escape(fmt.Sprintf(format, args...)))
	}
	o.Notify = func(state string) {
		if err := notify(manager, state); err != nil {
			o.Log("tell the service manager: %v", err)
		}
	}
	return daemon.Run(ctx, o)
}

// inheritedSocket is the one that the service manager passes (sd_listen_fds(3)),
// nil if there is none.
func inheritedSocket() (*os.File, error) {
	if pid, err := strconv.Atoi(os.Getenv("LISTEN_PID")); err != nil || pid != os.Getpid() {
		return nil, nil
	}
	if n := os.Getenv("LISTEN_FDS"); n != "1" {
		return nil, fmt.Errorf("the service manager passes %.20q sockets, not one", n)
	}
	const first = 3
	syscall.CloseOnExec(first)
	return os.NewFile(first, "socket"), nil
}

// notify tells the service manager how the service is (sd_notify(3)).
func notify(socket, state string) error {
	if socket == "" {
		return nil
	}
	// A leading @ is an abstract name there and in package net.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(state))
	return err
}

// printDaemon asks a running supervisor.
func printDaemon(ctx context.Context, out io.Writer, socket string, asJSON bool) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := daemonctl.Dial(ctx, socket)
	if err != nil {
		return err
	}
	defer c.Close()
	d, err := c.Status(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		b, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			return err
		}
		_, err = out.Write(append(text.JSON(b), '\n'))
		return err
	}
	floor := "none"
	if d.Floor != "" {
		floor = "SHA-256 " + d.Floor
	}
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "version\t%s\nsessions\t%d\nsteering\t%s\npolicy\t%s\n", text.Escape(d.Version), d.Sessions, text.Escape(string(d.Steering)), text.Escape(floor))
	for _, c := range d.Capabilities {
		fmt.Fprintf(tw, "%s\t%s\t%s %s\n", text.Escape(c.Control), text.Escape(string(c.State)), text.Escape(c.By), text.Escape(c.Detail))
	}
	return tw.Flush()
}
