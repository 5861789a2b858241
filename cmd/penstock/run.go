package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock/penstock/agent/shim"
	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/sandbox/layout"
	"github.com/penstock/penstock/sandbox/none"
	"github.com/penstock/penstock/supervisor"
	"github.com/penstock/penstock/supervisor/config"
	"github.com/penstock/penstock/supervisor/daemonctl"
)

func newRunCmd() *cobra.Command {
	var o config.Options
	cmd := &cobra.Command{
		Use:   "run [flags] [--] COMMAND [ARG…]",
		Short: "Run a command in a pen",
		Long: `Run a command in a pen: it sees the work directory (writable), the system
(read-only) and nothing of your home; it has no network but Penstock's proxy,
which decides by policy, records every request and explains every refusal.

A name that Penstock knows as an agent (opencode, claude, codex, gemini, aider)
starts from a profile with the agent's model hosts and state directories.

The exit code, output and signals are the command's own. Penstock's own failures
are 125 (the pen could not be built), 126 (the command can't be executed) and
127 (the command was not found).`,
		Example: `  penstock run -- npm test
  penstock run claude
  penstock run --allow registry.npmjs.org -- npm install
  penstock run --policy ci.yaml --ci -- make test
  penstock run --mode audit -- ./build.sh        # allow what no rule denies, and record it
  penstock run --publish 3000 -- npm run dev     # reach the pen's port 3000 from here
  penstock run --copy -- ./tidy.sh               # work on a copy, and decide afterwards
  penstock run --dry-run -- make                 # say what the pen would be`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "" {
				return &exitError{code: 125, err: &usageError{cmd: "penstock run", err: errors.New("no command to run")}}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Command = args
			if err := refuseEmpty(cmd, &o); err != nil {
				return &exitError{code: 125, err: err}
			}
			return runPen(cmd, &o)
		},
	}
	// 2, the usual code of a wrong flag, could be the command's own.
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &exitError{code: 125, err: &usageError{cmd: cmd.CommandPath(), err: err}}
	})
	f := cmd.Flags()
	f.SetInterspersed(false) // the command's own flags are its own
	f.StringVar(&o.Sandbox, "sandbox", "", "tier of the sandbox: auto, bwrap, gvisor or wasm (default: the policy's, else auto)")
	f.BoolVar(&o.NoSandbox, "no-sandbox-i-know", false, "with --sandbox none: run the command as yourself, in no sandbox")
	f.StringArrayVar(&o.Policies, "policy", nil, "use this policy `file` too; naming it here is trusting it")
	f.StringArrayVar(&o.Allow, "allow", nil, "allow `HOST[:PORT]`, e.g. api.example.com or *.example.com:8443")
	f.StringArrayVar(&o.Deny, "deny", nil, "deny `HOST`, whatever else allows it")
	f.StringVar(&o.Mode, "mode", "", "enforce, ask (see --ask), or audit: allow what no rule denies, and record it")
	f.BoolVar(&o.Ask, "ask", false, "have a person asked about what no rule is about (default: ask)")
	f.StringArrayVar(&o.Approvals, "approvals", nil, "have the signed tokens in this `file` answer what a person would be asked")
	f.StringVar(&o.Audience, "approvals-audience", "", "`NAME` of this session that tokens may be bound to")
	f.StringVar(&o.Workdir, "workdir", "", "the work `directory` (default: the current one)")
	f.StringArrayVar(&o.Write, "write", nil, "make `path` writable in the pen")
	f.StringArrayVar(&o.Read, "read", nil, "make `path` readable in the pen")
	f.StringArrayVar(&o.Hide, "hide", nil, "hide `path` in the pen")
	f.StringArrayVar(&o.Env, "env", nil, "pass variable NAME, or set `NAME[=VALUE]`")
	f.StringArrayVar(&o.Publish, "publish", nil, "make a port of the pen reachable from the host: `[ADDR:]PORT[:PORT]`")
	f.StringArrayVar(&o.AddHost, "add-host", nil, "give a name a fixed address: `NAME:IP`")
	f.StringVar(&o.Upstream, "upstream", "", "reach hosts by the proxy at this `URL` (http, https, socks5)")
	f.StringArrayVar(&o.CA, "ca", nil, "trust the roots in this PEM `file` for upstream certificates too")
	f.StringVar(&o.AuditDir, "audit-dir", "", "keep the audit in this `directory`")
	f.BoolVar(&o.EphemeralCA, "ephemeral-ca", false, "use a certificate authority made for this session only")
	f.BoolVar(&o.TrustProject, "trust-project", false, "trust the project's .penstock.yaml as it is (for CI)")
	f.BoolVar(&o.NoProfile, "no-profile", false, "don't start from the profile of a known agent")
	f.Var(&nameFlag{&o.Worktree}, "worktree", "work in a copy of the repository on branch penstock/NAME: `[=NAME]`")
	f.Lookup("worktree").NoOptDefVal = config.AnyName
	f.StringVar(&o.WorktreeEnd, "worktree-end", "", "`HOW` the worktree ends: merge, discard or keep (default: ask, else keep)")
	f.BoolVar(&o.Copy, "copy", false, "work on a copy of the work directory")
	f.StringVar(&o.CopyEnd, "copy-end", "", "`HOW` the copy ends: bring, discard or keep (default: ask, else keep)")
	f.BoolVar(&o.Rootless, "rootless", false, "don't use the privileged supervisor, even if there is one")
	f.BoolVar(&o.Supervised, "supervised", false, "use the privileged supervisor, or fail")
	f.StringVar(&o.Socket, "socket", "", "where the privileged supervisor listens (default "+daemonctl.Path+")")
	f.BoolVar(&o.CI, "ci", false, "for CI jobs: append a summary to $GITHUB_STEP_SUMMARY, if that is set")
	f.BoolVar(&o.DryRun, "dry-run", false, "print what the pen would be, and run nothing")
	f.BoolVar(&o.JSON, "json", false, "with --dry-run: print JSON")
	f.BoolVarP(&o.Quiet, "quiet", "q", false, "no summary and no hints, errors only")
	f.BoolVarP(&o.Verbose, "verbose", "v", false, "print the capability report at the start")
	cmd.MarkFlagFilename("policy", "yaml", "yml")
	cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{"enforce", "ask", "audit"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("worktree-end", cobra.FixedCompletions([]string{config.Merge, config.Discard, config.Keep}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("copy-end", cobra.FixedCompletions([]string{config.Bring, config.Discard, config.Keep}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("sandbox", cobra.FixedCompletions([]string{"auto", "bwrap", "gvisor", "microvm", "wasm", "none"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// nameFlag is a name that may be left out: with it, and with =NAME. To pflag it is
// a bool, whose help shows no default.
type nameFlag struct{ name *string }

func (f *nameFlag) String() string     { return "" }
func (f *nameFlag) Set(s string) error { *f.name = s; return nil }
func (f *nameFlag) Type() string       { return "bool" }

// refuseEmpty refuses a flag with an empty value. A script's unset variable
// would otherwise mean the default: another work directory, another audit.
func refuseEmpty(cmd *cobra.Command, o *config.Options) error {
	for _, f := range []struct {
		name   string
		values []string
	}{
		{"sandbox", []string{o.Sandbox}}, {"mode", []string{o.Mode}}, {"approvals", o.Approvals}, {"approvals-audience", []string{o.Audience}}, {"workdir", []string{o.Workdir}}, {"audit-dir", []string{o.AuditDir}},
		{"socket", []string{o.Socket}}, {"upstream", []string{o.Upstream}},
		{"worktree", []string{o.Worktree}}, {"worktree-end", []string{o.WorktreeEnd}}, {"copy-end", []string{o.CopyEnd}},
		{"policy", o.Policies}, {"allow", o.Allow}, {"deny", o.Deny}, {"write", o.Write}, {"read", o.Read}, {"hide", o.Hide},
		{"env", o.Env}, {"publish", o.Publish}, {"add-host", o.AddHost}, {"ca", o.CA},
	} {
		if cmd.Flags().Changed(f.name) && slices.Contains(f.values, "") {
			return &config.FlagError{Flag: "--" + f.name, Why: "has no value", Fix: "give it one, or leave it out; is a variable of the script unset?"}
		}
	}
	return nil
}

func runPen(cmd *cobra.Command, o *config.Options) error {
	if o.JSON && !o.DryRun {
		return &exitError{code: 125, err: &usageError{cmd: "penstock run", err: errors.New("--json needs --dry-run: the output of a run is the command's")}}
	}
	host, err := thisHost()
	if err != nil {
		return &exitError{code: 125, err: err}
	}
	if inPen(host) {
		return &exitError{code: 125, err: &hintError{err: errors.New("this is a pen already, and a pen has no other inside"), hint: "run the command without penstock: this pen's policy holds for it"}}
	}
	cfg, err := config.Resolve(o, host)
	if err != nil {
		return &exitError{code: 125, err: err}
	}
	res, err := supervisor.Run(cmd.Context(), cfg, supervisor.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, append(backends(), none.Backend{}))
	if err != nil {
		var not *shim.ExecError
		if errors.As(err, &not) {
			return &exitError{code: not.ExitCode(), err: notExecuted(not, cfg)}
		}
		return &exitError{code: 125, err: err}
	}
	if res.ExitCode != 0 {
		return &exitError{code: res.ExitCode}
	}
	return nil
}

// notExecuted adds what to do about a command that the caller has and the pen
// does not.
func notExecuted(not *shim.ExecError, cfg *config.Config) error {
	if not.ExitCode() != 127 {
		return not
	}
	name := cfg.Command[0]
	if here, err := exec.LookPath(name); err == nil {
		if here, err = filepath.Abs(here); err == nil {
			return &hintError{err: not, hint: "it is here as " + text.Escape(here) + ", which the pen does not show, or it needs an interpreter that is not shown; --read DIRECTORY shows one"}
		}
	}
	if !strings.Contains(name, "/") {
		return &hintError{err: not, hint: "no directory of PATH has it"}
	}
	return &hintError{err: not, hint: "is it in the work directory, " + text.Escape(cfg.Workdir) + "?"}
}

// inPen tells whether penstock itself was started in a pen. It saves the user an
// obscure failure and decides nothing: the pen lets no other be built.
func inPen(h *config.Host) bool {
	_, err := os.Stat(layout.BundlePath)
	return h.Getenv("PENSTOCK") != "" && err == nil
}

// startable says in time what would end in an obscure failure: a process whose
// binary it can't read may not be given a user namespace (proc(5), the owner of
// /proc/PID/uid_map), and a root's proxy is started as nobody.
func startable(self string) error {
	f, err := os.Open(self)
	if err != nil {
		return &hintError{err: fmt.Errorf("read the penstock binary: %w", err), hint: "chmod a+rx " + text.Escape(self)}
	}
	defer f.Close()
	fi, err := f.Stat()
	if err == nil && os.Getuid() == 0 && fi.Mode().Perm()&0o005 != 0o005 {
		err = &hintError{err: fmt.Errorf("start the proxy as nobody: mode %04o of %s does not let others execute it", fi.Mode().Perm(), text.Escape(self)), hint: "chmod a+rx " + text.Escape(self)}
	}
	return err
}

// thisHost gathers what a run takes from the caller's machine.
func thisHost() (*config.Host, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the penstock binary: %w", err)
	}
	if err := startable(self); err != nil {
		return nil, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, &hintError{err: fmt.Errorf("find the working directory: %w", err), hint: "it was removed, or can't be read; change to another directory"}
	}
	return config.NewHost(os.Getuid(), os.Getgid(), dir, self, os.Environ())
}
