// Package companion finds and recognises the programs that a tier needs beside
// penstock's own, which are built from modules or packages of their own.
//
// # Hazards
//
// What stands where such a program belongs may be anything. It is read and never run
// before it was recognised: what is not the program would run with the caller's rights,
// or in the pen in place of the command. Tiers import it, and nothing else.
package companion

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Program is such a program.
type Program struct {
	Tier    string // whose it is
	Name    string // its file's name
	Package string // what it is built from
	Target  string // of make, that builds it
}

// Error says why a tier can't be used and what to do about it.
type Error struct {
	Tier string
	Err  error
	Fix  string // one line
}

func (e *Error) Error() string { return "tier " + e.Tier + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns what to do about it.
func (e *Error) Hint() string { return e.Fix }

// Refuse returns an error of the tier's.
func (p *Program) Refuse(fix, format string, args ...any) error {
	return &Error{p.Tier, fmt.Errorf(format, args...), fix}
}

// Remedy is what to do about a file that is not the program.
func (p *Program) Remedy() string { return "put there what make " + p.Target + " builds" }

// Find looks beside self (the path of the penstock binary) and where packages put it.
func (p *Program) Find(self string) (string, error) {
	return p.find(filepath.Dir(self), "/usr/libexec/penstock", "/usr/local/libexec/penstock")
}

func (p *Program) find(dirs ...string) (string, error) {
	for _, dir := range dirs {
		real, err := filepath.EvalSymlinks(filepath.Join(dir, p.Name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", p.Refuse(p.Remedy()+", readable for you", "find %s: %w", p.Name, err)
		}
		return real, nil
	}
	return "", p.Refuse("build it with make "+p.Target+", and put it beside penstock", "%s is not in %s", p.Name, strings.Join(dirs, ", "))
}

// Check says why a file can't be the program. It is read and not run.
func (p *Program) Check(program string) error {
	st, err := os.Stat(program)
	if err != nil {
		return p.Refuse(p.Remedy(), "find the program: %w", err)
	}
	if !st.Mode().IsRegular() {
		return p.Refuse(p.Remedy(), "%s is no regular file", program)
	}
	info, err := buildinfo.ReadFile(program)
	if os.IsPermission(err) {
		return p.Refuse("make it readable and executable for you: chmod 0755 "+program, "%s can't be read: permission denied", program)
	}
	if err != nil {
		return p.Refuse(p.Remedy(), "%s is not %s: it is no whole program in Go", program, p.Name)
	}
	if err := p.built(info); err != nil {
		return p.Refuse(p.Remedy(), "%s is not %s: %w", program, p.Name, err)
	}
	if _, err := exec.LookPath(program); err != nil {
		return p.Refuse("make it executable: chmod 0755 "+program, "%s can't be executed: permission denied", program)
	}
	return nil
}

// built says how a program's description of itself is not the program's here.
func (p *Program) built(info *buildinfo.BuildInfo) error {
	if info.Path != p.Package {
		return fmt.Errorf("it is built from %q", info.Path)
	}
	for _, s := range info.Settings {
		if s.Key == "GOARCH" && s.Value != runtime.GOARCH || s.Key == "GOOS" && s.Value != runtime.GOOS {
			return fmt.Errorf("it is built with %s=%q", s.Key, s.Value)
		}
	}
	return nil
}
