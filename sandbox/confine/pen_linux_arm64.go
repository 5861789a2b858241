package confine

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_AARCH64
	hasX32    = false
	x32Bit    = 0
)

// oldCalls: this architecture began without them.
func oldCalls() []uint32 { return nil }

func oldTests(*filter, verdict) {}

func proxyOldCalls() []uint32 { return nil }
