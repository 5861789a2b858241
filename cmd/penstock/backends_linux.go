package main

import (
	"errors"
	"os"
	"strconv"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/bwrap"
	"github.com/penstock/penstock/sandbox/confine"
	"github.com/penstock/penstock/sandbox/gvisor"
	"github.com/penstock/penstock/sandbox/layout"
	"github.com/penstock/penstock/sandbox/microvm"
	"github.com/penstock/penstock/sandbox/netns"
	"github.com/penstock/penstock/sandbox/wasm"
	"github.com/penstock/penstock/supervisor/config"
	"github.com/penstock/penstock/supervisor/doctor"
)

// backends are the tiers that this build has, the one that auto chooses first.
// They are passed in, so that a user of package supervisor doesn't pull in
// those it does not want.
func backends() []sandbox.Backend {
	var pen sandbox.Backend
	pen, err := bwrap.New("")
	if err != nil {
		pen = &missing{"bwrap", err}
	}
	var guest sandbox.Backend = &missing{gvisor.Name, errors.New("tier gvisor: this program can't be found")}
	var machine sandbox.Backend = &missing{microvm.Name, errors.New("tier microvm: this program can't be found")}
	if self, err := os.Executable(); err == nil {
		guest, err = gvisor.New(pen, self, confine.LandlockABI())
		if err != nil {
			guest = &missing{gvisor.Name, err}
		}
		machine, err = newMachine(pen, self)
		if err != nil {
			machine = &missing{microvm.Name, err}
		}
	}
	proxy := "http://127.0.0.1:" + strconv.Itoa(netns.ExplicitPort)
	return []sandbox.Backend{pen, guest, machine, wasm.New(pen, proxy, layout.BundlePath)}
}

// newMachine is the tier microvm. The command has the pen's filter in the machine, too:
// what it refuses is refused there.
func newMachine(pen sandbox.Backend, self string) (sandbox.Backend, error) {
	filter, err := confine.PenFilter(true)
	if err != nil {
		return nil, err
	}
	host, err := thisHost()
	if err != nil {
		return nil, err
	}
	return microvm.New(pen, microvm.Options{
		Self: self, Cache: config.DefaultPaths(host).Cache, Filter: filter, Relay: []uint16{netns.DNSPort, netns.ExplicitPort},
	})
}

// trials are of what is no tier yet.
func trials() []doctor.Trial {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	host, err := thisHost()
	if err != nil {
		return nil
	}
	return []doctor.Trial{microvm.NewFirecracker(microvm.Options{Self: self, Cache: config.DefaultPaths(host).Cache})}
}
