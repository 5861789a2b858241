//go:build !linux && !darwin

package doctor

import (
	"fmt"
	"runtime"
)

// system says that there is nothing to try.
func (x *examination) system() {
	x.bad(Fail, "system", "operating system", fmt.Errorf("pens need Linux or macOS; this is %s", runtime.GOOS), "run penstock on Linux, in a virtual machine if need be")
}

func (x *examination) network() {}

func (x *examination) limits() {}

func (x *examination) supervisor() error { return nil }
