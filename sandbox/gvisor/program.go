package gvisor

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// module is what the program is built from.
const module = "github.com/penstock/penstock/gvisor"

// remedy is what to do about a file that is not the program.
const remedy = "put there what make gvisor builds"

// checkProgram says why the file can't be the program. It is read and never run: what
// is not the program would run with the caller's rights, or in the pen in place of the
// command.
func checkProgram(program string) error {
	st, err := os.Stat(program)
	if err != nil {
		return &Error{fmt.Errorf("find the program: %w", err), remedy}
	}
	if !st.Mode().IsRegular() {
		return &Error{fmt.Errorf("%s is no regular file", program), remedy}
	}
	info, err := buildinfo.ReadFile(program)
	if os.IsPermission(err) {
		return &Error{fmt.Errorf("%s can't be read: permission denied", program), "make it readable and executable for you: chmod 0755 " + program}
	}
	if err != nil {
		return &Error{fmt.Errorf("%s is not %s: it is no whole program in Go", program, Program), remedy}
	}
	if err := built(info); err != nil {
		return &Error{fmt.Errorf("%s is not %s: %w", program, Program, err), remedy}
	}
	if _, err := exec.LookPath(program); err != nil {
		return &Error{fmt.Errorf("%s can't be executed: permission denied", program), "make it executable: chmod 0755 " + program}
	}
	return nil
}

// built says how a program's description of itself is not the program's here.
func built(info *buildinfo.BuildInfo) error {
	if info.Path != module {
		return fmt.Errorf("it is built from %q", info.Path)
	}
	for _, s := range info.Settings {
		if s.Key == "GOARCH" && s.Value != runtime.GOARCH || s.Key == "GOOS" && s.Value != runtime.GOOS {
			return fmt.Errorf("it is built with %s=%q", s.Key, s.Value)
		}
	}
	return nil
}
