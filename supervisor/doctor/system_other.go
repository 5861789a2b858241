//go:build !linux

package doctor

import (
	"fmt"
	"runtime"
)

// system says that there is nothing to try.
func (x *examination) system() {
	x.bad(Fail, "system", "operating system", fmt.Errorf("pens need Linux; this is %s", runtime.GOOS), "run penstock on Linux, in a virtual machine if need be")
}

func (x *examination) supervisor() error { return nil }
