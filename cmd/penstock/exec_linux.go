package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/supervisor"
	"github.com/penstock/penstock/supervisor/config"
	"github.com/penstock/penstock/supervisor/execctl"
)

func newExecCmd() *cobra.Command {
	var env []string
	var dir string
	r := &running{}
	cmd := &cobra.Command{
		Use:   "exec [flags] [SESSION] [--] COMMAND [ARG…]",
		Short: "Run a further command in a running session",
		Long: `Run a further command in a session that runs: in the same pen, with the same
files, environment, limits, policy and audit as the session's own command, and
nothing more. SESSION is an identifier of penstock ps, or its beginning if only
one session has it; it may be left out, with -- in its place, if one session of
yours runs.

The exit code, output and signals are the command's own. It ends with the session
(137), and when penstock exec is killed. What it leaves running stays in the
session. Penstock's own failures are 125, 126 (the command can't be executed) and
127 (the command was not found).

Sessions of the tiers bwrap and gvisor take further commands, under the privileged
supervisor those of gvisor, and only from the user whose they are. A hook about the
start of sessions is asked about each.`,
		Example: `  penstock exec 20260102-150405-x7k2q -- git status
  penstock exec -- sh                              # in the only session that runs
  penstock exec --env CI=1 --workdir src -- make   # SESSION/src`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &exitError{code: 125, err: &usageError{cmd: "penstock exec", err: errors.New("no command to run")}}
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, given []string, part string) ([]string, cobra.ShellCompDirective) {
			if len(given) == 0 {
				return r.complete(cmd, given, part)
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			err := runExec(cmd, r, args, env, dir)
			var exit *exitError
			if err == nil || errors.As(err, &exit) {
				return err
			}
			return &exitError{code: 125, err: err}
		},
	}
	// 2, the usual code of a wrong flag, could be the command's own.
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &exitError{code: 125, err: &usageError{cmd: cmd.CommandPath(), err: err}}
	})
	f := cmd.Flags()
	f.SetInterspersed(false) // the command's own flags are its own
	f.StringArrayVar(&env, "env", nil, "pass variable NAME, or set `NAME[=VALUE]`")
	f.StringVar(&dir, "workdir", "", "the `directory` in the pen to run it in (default: the session's)")
	r.flags(cmd)
	return cmd
}

func runExec(cmd *cobra.Command, r *running, args, env []string, dir string) error {
	session := ""
	if cmd.ArgsLenAtDash() != 0 {
		session, args = args[0], args[1:]
		if len(args) > 0 && args[0] == "--" {
			args = args[1:]
		}
	}
	if len(args) == 0 || args[0] == "" {
		return &usageError{cmd: "penstock exec", err: errors.New("no command to run")}
	}
	if cmd.Flags().Changed("workdir") && dir == "" {
		return &config.FlagError{Flag: "--workdir", Why: "has no value", Fix: "give it one, or leave it out; is a variable of the script unset?"}
	}
	start := &execctl.Start{Argv: args, Dir: dir}
	for _, e := range env {
		name, _, set := strings.Cut(e, "=")
		if name == "" {
			return &config.FlagError{Flag: "--env", Value: e, Why: "has no name", Fix: "write NAME to pass a variable, or NAME=VALUE to set one"}
		}
		if !set {
			v, ok := os.LookupEnv(name)
			if !ok {
				continue // as in penstock run
			}
			e = name + "=" + v
		}
		if config.LooksSecret(name) {
			fmt.Fprintf(os.Stderr, "penstock: WARNING: %s looks like a credential, and the command gets it as it is; a secret of the policy gives it a placeholder\n", text.Escape(name))
		}
		start.Env = append(start.Env, e)
	}
	if session == "" {
		var err error
		if session, err = onlySession(cmd, r); err != nil {
			return err
		}
	}
	code, err := supervisor.Exec(session, start, supervisor.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	var failed *execctl.Failed
	switch {
	case errors.As(err, &failed) && failed.Hint != "":
		return &exitError{code: failed.Code, err: &hintError{err: failed, hint: failed.Hint}}
	case errors.As(err, &failed):
		return &exitError{code: failed.Code, err: failed}
	case err != nil:
		return err
	case code != 0:
		return &exitError{code: code}
	}
	return nil
}

// onlySession is the one session of the caller's that runs.
func onlySession(cmd *cobra.Command, r *running) (string, error) {
	list, err := r.list(cmd.Context())
	if err != nil {
		return "", err
	}
	switch len(list) {
	case 0:
		return "", &hintError{err: errors.New("no session of yours runs"), hint: "penstock run -- COMMAND starts one"}
	case 1:
		return list[0].Session, nil
	}
	return "", &hintError{err: fmt.Errorf("%d sessions of yours run", len(list)), hint: "say in which: penstock exec SESSION -- COMMAND; penstock ps lists them"}
}
