//go:build linux || darwin

package proxyrole

import (
	"fmt"

	"github.com/penstock/penstock/netproxy/pac"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// pacPrograms reads the PAC files that were donated. What is not understood is an error
// now and not with the first request.
func pacPrograms(cfg *proxyctl.Config) (map[string]*pac.Program, error) {
	out := map[string]*pac.Program{}
	for _, u := range cfg.Policy.Upstreams() {
		if !u.IsPAC() || u.PACSource() != nil {
			continue
		}
		program, err := pac.Parse(cfg.PACs[u.Name])
		if err != nil {
			return nil, fmt.Errorf("use the PAC file of upstream %s (%s): %s: %w", u.Name, u.From.Ref(), u.PAC, err)
		}
		out[u.Name] = program
	}
	cfg.PACs = nil
	return out, nil
}
