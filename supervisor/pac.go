//go:build linux || darwin

package supervisor

import (
	"fmt"

	"github.com/penstock/penstock/internal/text"
)

// maxPAC bounds a PAC file, in bytes.
const maxPAC = 1 << 20

// pacs reads the files that choose ways, as the caller. It is the proxy role that
// parses them, and that gets those of a URL.
func (s *session) pacs() (map[string][]byte, error) {
	var out map[string][]byte
	writable := append(paths(s.cfg.Policy.Filesystem().Write), s.cfg.Workdir)
	for _, u := range s.cfg.Policy.Upstreams() {
		if !u.IsPAC() || u.PACSource() != nil {
			continue
		}
		fail := func(err error) error {
			return fmt.Errorf("use the PAC file of upstream %s (%s): %w", u.Name, u.From.Ref(), err)
		}
		if dir := writableBy(u.PAC, writable); dir != "" {
			return nil, fail(fmt.Errorf("%s is in %s, where a tool in a pen can change it", text.Escape(u.PAC), text.Escape(dir)))
		}
		b, err := readFile(u.PAC, maxPAC)
		if err != nil {
			return nil, fail(err)
		}
		if out == nil {
			out = map[string][]byte{}
		}
		out[u.Name] = b
	}
	return out, nil
}
