// Command penstock-gvisor runs a command on gVisor's kernel, without any privilege,
// in a pen that is built already. It is the command of a pen of the tier gvisor.
//
// It is three processes. The first passes on streams, signals and the exit code, starts
// further commands when penstock asks for them, and has started the others: the sentry, which is the kernel that the command sees, and the
// gofer, which opens files for it. Both put gVisor's own seccomp filters on themselves
// before the first instruction of the command. gVisor's launcher, runsc, is not used:
// it makes namespaces and mounts, for which it wants to be root in one; here the pen
// around is all that, has been compared with its plan, and allows neither.
//
// # Hazards
//
// The command is hostile, and the sentry with it once a bug of it is used. Then it
// is a process of the pen like any of the tier bwrap: without capabilities, network
// or other files, under the pen's seccomp filter and Landlock domain, and under the
// sentry's filter, and it can be the first process, by tracing it: then it has the streams
// of further commands, which would have been theirs, and can tell what it likes of
// their end. So nothing of the host's is handed to it but three streams, which
// are made or opened anew (a flag that it sets on them is not the caller's), and the
// directory that is the command's root. What it says of itself is bounded and
// escaped by whoever prints it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

// Exit codes of what is not the command's own end.
const (
	exitBroken        = 125
	exitNotExecutable = 126
	exitNotFound      = 127
)

// The processes, by the first argument.
const (
	roleRun    = "run"
	roleSentry = "sentry"
	roleGofer  = "gofer"
	roleKeys   = "keys"
)

// world is what the command sees.
type world struct {
	root     string // directory that is its root
	dir      string // working directory, in root
	uid, gid int
	hostname string
	platform string // how the sentry gets hold of system calls; "": the best that works
	terminal bool   // a stream is the pen's terminal
	trace    int    // descriptor of the journal, 0: nobody wants to know
	journal  *os.File
	further  int    // descriptor over which further commands are asked for, 0: nobody does
	watch    string // file that lists what is watched
	argv     []string
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	if len(args) == 0 {
		return broken(errors.New("no role: this program is started by penstock run --sandbox gvisor"))
	}
	switch args[0] {
	case roleGofer:
		return broken(gofer())
	case roleKeys:
		return broken(hearKeys())
	case roleRun, roleSentry:
		w, err := parse(args[1:])
		if err != nil {
			return broken(err)
		}
		if args[0] == roleSentry {
			return broken(sentry(w))
		}
		return begin(w)
	case "version":
		fmt.Println("penstock-gvisor", version)
		return 0
	}
	return broken(fmt.Errorf("unknown role %q", args[0]))
}

// version is set by the linker.
var version = "unknown"

func broken(err error) int {
	fmt.Fprintf(os.Stderr, "penstock: tier gvisor: %v\n", err)
	return exitBroken
}

func (w *world) flags() *flag.FlagSet {
	f := flag.NewFlagSet("penstock-gvisor", flag.ContinueOnError)
	f.StringVar(&w.root, "root", "", "directory that is the command's root")
	f.StringVar(&w.dir, "dir", "/", "working directory, in the root")
	f.IntVar(&w.uid, "uid", 0, "user")
	f.IntVar(&w.gid, "gid", 0, "group")
	f.StringVar(&w.hostname, "hostname", "pen", "host name")
	f.StringVar(&w.platform, "platform", "", "systrap or ptrace")
	f.BoolVar(&w.terminal, "terminal", false, "a stream is the pen's terminal")
	f.IntVar(&w.trace, "trace", 0, "descriptor for what the command does")
	f.IntVar(&w.further, "further", 0, "descriptor over which further commands are asked for")
	f.StringVar(&w.watch, "watch", "", "file that lists paths whose opening is told")
	return f
}

func parse(args []string) (*world, error) {
	w := &world{}
	f := w.flags()
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	w.argv = f.Args()
	if w.root == "" || len(w.argv) == 0 {
		return nil, errors.New("no root or no command")
	}
	return w, nil
}

// args is what parse reads. trace is the number of the journal's descriptor there.
func (w *world) args(platform string, trace int) []string {
	return append([]string{
		"-root=" + w.root, "-dir=" + w.dir, fmt.Sprintf("-uid=%d", w.uid), fmt.Sprintf("-gid=%d", w.gid),
		"-hostname=" + w.hostname, "-platform=" + platform, fmt.Sprintf("-terminal=%t", w.terminal),
		fmt.Sprintf("-trace=%d", trace), "-watch=" + w.watch, "--",
	}, w.argv...)
}
