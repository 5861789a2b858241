//go:build linux || darwin

package supervisor

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/netproxy/secrets"
)

// clientCerts reads what proxies and webhooks are shown.
func (s *session) clientCerts() (*secrets.ClientCerts, error) {
	p := s.cfg.Policy
	writable := append(paths(p.Filesystem().Write), s.cfg.Workdir)
	return secrets.ResolveClientCerts(p.Upstreams(), p.Hooks(), func(path string, key bool) ([]byte, error) {
		if dir := writableBy(path, writable); dir != "" {
			return nil, fmt.Errorf("%s is in %s, where a tool in a pen can change it", text.Escape(path), text.Escape(dir))
		}
		return readGuarded(path, key)
	})
}

// readGuarded reads a file, and if it is a key, one that is its owner's: the
// caller's, or root's for a group. What is looked at is what is read.
func readGuarded(path string, key bool) ([]byte, error) {
	return readIf(path, maxSecret, func(fi fs.FileInfo) error {
		if st, ok := fi.Sys().(*syscall.Stat_t); key && (!ok || fi.Mode().Perm()&0o027 != 0 || int(st.Uid) != os.Getuid() && st.Uid != 0) {
			return fmt.Errorf("%s: the key could be read or changed by others (mode %04o); chmod 600 it, as its owner", path, fi.Mode().Perm())
		}
		return nil
	})
}
