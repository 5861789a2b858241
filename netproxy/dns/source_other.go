//go:build !linux

package dns

import (
	"net/netip"
	"time"
)

const controlSize = 128

// answerFrom is of use only where the resolver answers for every address.
func answerFrom(_, reply []byte) (netip.Addr, []byte) { return netip.Addr{}, reply }

func transient(error) bool { return false }

func pause() { time.Sleep(5 * time.Millisecond) }
