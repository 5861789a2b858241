package supervisor

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/penstock/penstock/supervisor/proxyctl"
)

// mapped tells whether id exists in this process's user namespace.
func mapped(id int) bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	for line := range bytes.Lines(b) {
		var inside, outside, count int64
		if _, err := fmt.Sscan(string(line), &inside, &outside, &count); err == nil && int64(id) >= inside && int64(id) < inside+count {
			return true
		}
	}
	return false
}

// nobody is the uid and gid that the proxy role runs as when the caller is
// root: root's files are not to be had by a process that parses hostile bytes,
// even before it has confined itself.
const nobody = 65534

// proxyCommand is the process of the proxy role.
func (s *session) proxyCommand() (*exec.Cmd, error) {
	// Not by its path: nobody may not be able to walk to where root keeps the binary.
	cmd := exec.Command("/proc/self/exe", ProxyRole)
	cmd.Args[0] = "penstock"
	if os.Geteuid() == 0 && mapped(nobody) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd, nil
}

// runProxy gives the proxy what else there is here, and starts it, or takes the
// daemon's.
func (s *session) runProxy(ctx context.Context, cfg *proxyctl.Config, files map[string]*os.File) error {
	cfg.Who, cfg.Ask = s.answers(), !s.cfg.CI
	s.tells(cfg, files)
	for i, p := range s.cfg.Publish {
		l, addr, err := listenPublished(p)
		if err != nil {
			return err
		}
		defer l.Close()
		name := fmt.Sprintf("publish%d", i)
		files[name] = l
		cfg.Publish = append(cfg.Publish, proxyctl.Publish{Name: name, Listen: addr, Port: p.Port})
		s.cfg.Publish[i].Listen = addr
	}
	if s.hooks != nil {
		if err := s.hooks.serve(files); err != nil {
			return err
		}
		defer files[proxyctl.FileHooks].Close()
	}
	var err error
	if s.daemon != nil {
		s.proxy, err = s.daemon.proxy(ctx, cfg, files, s.notice)
	} else {
		err = s.ownProxy(cfg, files)
	}
	if err == nil && cfg.Ask {
		s.book = s.proxy.client.AskPerson(s.asks)
	}
	return err
}
