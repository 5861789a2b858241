package proxyrole

import (
	"fmt"
	"io"
	"os"

	"github.com/penstock/penstock/sandbox/confine"
	"github.com/penstock/penstock/supervisor/bossctl"
	"github.com/penstock/penstock/supervisor/hookctl"
	"github.com/penstock/penstock/supervisor/packet"
)

// readable is what the role may still read once it is confined: how the host
// resolves names, and the roots that upstream certificates are verified against.
func readable() []string {
	return []string{
		"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/host.conf", "/run/systemd/resolve",
		"/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/var/lib/ca-certificates",
		"/usr/share/zoneinfo", "/etc/localtime", "/proc/sys/net/core/somaxconn",
	}
}

func confineSelf() error {
	if _, err := confine.Proxy(confine.ProxyRules{ReadPaths: readable()}); err != nil {
		return fmt.Errorf("confine the proxy: %w", err)
	}
	return nil
}

// serveBoss serves what the privileged supervisor has started the role for, if it has.
func serveBoss(files map[string]*os.File) (started bool, err error) {
	f := files[bossctl.FileBoss]
	if f == nil {
		return false, nil
	}
	return true, serveSupervised(f)
}

// hookProcesses returns who starts the processes of hooks.
func hookProcesses(f *os.File) (startHook, io.Closer, error) {
	uc, err := packet.Open(f)
	if err != nil {
		return nil, nil, err
	}
	c := hookctl.NewClient(packet.NewConn(uc, hookctl.MaxMessage, hookctl.MaxFiles))
	return c.Start, c, nil
}
