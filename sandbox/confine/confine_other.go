//go:build !linux || !(amd64 || arm64)

package confine

import "errors"

// errUnsupported: there is no filter for this system or architecture, so
// nothing may run as if there were.
var errUnsupported = errors.New("seccomp and Landlock need Linux on amd64 or arm64")

// PenFilter returns an error on this system.
func PenFilter(bool) ([]byte, error) { return nil, errUnsupported }

// ProxyFilter returns an error on this system.
func ProxyFilter(int) ([]byte, error) { return nil, errUnsupported }

// LandlockABI returns 0 on this system.
func LandlockABI() int { return 0 }

// Pen returns an error on this system.
func Pen(PenRules) (Applied, error) { return Applied{}, errUnsupported }

// Proxy returns an error on this system.
func Proxy(ProxyRules) (Applied, error) { return Applied{}, errUnsupported }

// DaemonFilter returns an error on this system.
func DaemonFilter() ([]byte, error) { return nil, errUnsupported }

// Daemon returns an error on this system.
func Daemon([]int) error { return errUnsupported }

// Janitor returns an error on this system.
func Janitor([]string) error { return errUnsupported }

// Guest returns an error on this system.
func Guest([]PathRule) error { return errUnsupported }
