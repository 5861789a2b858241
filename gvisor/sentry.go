package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/control/client"
	"gvisor.dev/gvisor/pkg/control/server"
	"gvisor.dev/gvisor/pkg/cpuid"
	"gvisor.dev/gvisor/pkg/fd"
	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/metric"
	"gvisor.dev/gvisor/pkg/ring0"
	"gvisor.dev/gvisor/pkg/sentry/platform"
	"gvisor.dev/gvisor/runsc/boot"
	"gvisor.dev/gvisor/runsc/config"
	gflag "gvisor.dev/gvisor/runsc/flag"
	"gvisor.dev/gvisor/runsc/specutils"
	"gvisor.dev/gvisor/runsc/starttime"
)

// status is what the sentry tells the first process, a line each.
type status struct {
	Started bool   `json:"started,omitempty"` // the command runs
	Error   string `json:"error,omitempty"`   // it does not
	Ended   bool   `json:"ended,omitempty"`   // with Code
	Code    int    `json:"code,omitempty"`
}

func tell(s status) {
	b, err := json.Marshal(&s)
	if err != nil {
		return
	}
	unix.Write(fdStatus, append(b, '\n')) //nolint:errcheck // then nobody listens
}

// id is the sandbox's; there is one to a pen.
const id = "pen"

// sentry is the command's kernel until the command ends. It returns an error only.
func sentry(w *world) error {
	log.SetLevel(log.Warning)
	env := os.Environ()
	cpuid.Initialize()
	ring0.InitDefault()
	unix.Umask(0) // what the command asks for has been masked by its own
	conf, err := configuration(w)
	if err != nil {
		return err
	}
	checkChanges()
	l, ctl, err := load(w, conf, env)
	if err != nil {
		tell(status{Error: err.Error()})
		return err
	}
	if w.trace > 0 {
		if err := trace(w.trace, w.watch); err != nil {
			tell(status{Error: err.Error()})
			return err
		}
	}
	metric.Initialize()
	go func() {
		c, err := client.ConnectTo(ctl)
		if err == nil {
			name := id
			err = c.Call(boot.ContMgrRootContainerStart, &name, nil)
		}
		if err != nil {
			tell(status{Error: err.Error()})
			os.Exit(exitBroken)
		}
		tell(status{Started: true})
	}()
	l.WaitForStartSignal()
	if err := l.Run(); err != nil {
		return err
	}
	tell(status{Ended: true, Code: exitCode(unix.WaitStatus(l.WaitExit()))})
	os.Exit(0)
	return nil
}

func exitCode(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// controlName is the address of the control socket of the sentry with a process number.
func controlName(pid int) string { return "\x00penstock-gvisor-" + strconv.Itoa(pid) }

// configuration is gVisor's defaults, and what differs.
func configuration(w *world) (*config.Config, error) {
	f := gflag.NewFlagSet("gvisor", gflag.ContinueOnError)
	config.RegisterFlags(f)
	for name, value := range map[string]string{
		"platform": w.platform,
		// The host's network is the pen's: there is nothing in it but the proxy.
		"network": "host", "net-raw": "false",
		// The pen's mounts say what may be written, and others may change it meanwhile.
		"overlay2": "none", "file-access": "shared", "directfs": "true",
		"host-uds": "none", "host-fifo": "none", "allow-suid": "false",
		"ignore-cgroups": "true",
	} {
		if err := f.Set(name, value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	return config.NewFromFlags(f)
}

// load makes the kernel, and the socket by which it is told to start.
func load(w *world, conf *config.Config, env []string) (*boot.Loader, string, error) {
	ctl := controlName(os.Getpid())
	ctlFD, err := server.CreateSocket(ctl)
	if err != nil {
		return nil, "", fmt.Errorf("make the control socket: %w", err)
	}
	p, err := platform.Lookup(conf.Platform)
	if err != nil {
		return nil, "", err
	}
	device, err := p.OpenDevice("")
	if err != nil {
		return nil, "", err
	}
	if device == nil {
		device = fd.New(-1)
	}
	l, err := boot.New(boot.Args{
		ID: id, Spec: spec(w, env), Conf: conf, ControllerFD: ctlFD, Device: device,
		GoferFDs: []int{fdGofer}, StdioFDs: []int{fdStdio, fdStdio + 1, fdStdio + 2},
		GoferMountConfs: []specutils.GoferMountConf{{Lower: specutils.Lisafs, Upper: specutils.NoOverlay}},
		PinRingFD:       -1, DevGoferFD: -1, ExecFD: -1, UserLogFD: -1, PodInitConfigFD: -1, RootfsUpperTarFD: -1,
		StartupTimer: starttime.Timer("penstock-gvisor"),
	})
	return l, ctl, err
}

// spec says in OCI's words what the command is. /proc, /sys, /dev and an empty /tmp
// are gVisor's own.
func spec(w *world, env []string) *specs.Spec {
	return &specs.Spec{
		Version:  specs.Version,
		Hostname: w.hostname,
		Root:     &specs.Root{Path: w.root},
		Process: &specs.Process{
			Terminal: w.terminal, Args: w.argv, Env: env, Cwd: w.dir,
			User:            specs.User{UID: uint32(w.uid), GID: uint32(w.gid)},
			Capabilities:    &specs.LinuxCapabilities{},
			NoNewPrivileges: true,
		},
		Mounts: []specs.Mount{{Type: "tmpfs", Destination: "/dev/shm", Options: []string{"mode=1777"}}},
		Linux:  &specs.Linux{},
	}
}
