package layout

import (
	"fmt"
	"io/fs"
	"path"

	"github.com/penstock/penstock/sandbox"
)

// systemDirs are where an operating system has its programs and what they need.
func systemDirs() []string {
	return []string{
		"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt",
		"/nix", "/gnu", // store and profiles of Nix and Guix
		"/run/current-system", "/run/opengl-driver", // NixOS: links into the store
	}
}

// Cage returns what a program of the caller's sees that is to see little: the
// system's programs and libraries, the named files and directories, all of it
// read-only, and a /tmp of its own in memory. Of /etc it has what libraries look
// for; with network also what names and certificates need. Names are absolute.
func Cage(names []string, network bool, host Host) ([]sandbox.Mount, error) {
	var out []sandbox.Mount
	for _, p := range systemDirs() {
		m, err := host.Lstat(p)
		switch {
		case err != nil:
		case m&fs.ModeSymlink != 0:
			if text, err := host.Readlink(p); err == nil { // a merged /usr
				out = append(out, sandbox.Mount{Kind: sandbox.Symlink, Source: text, Target: p})
			}
		case m.IsDir():
			out = append(out, sandbox.Mount{Source: p, Target: p})
		}
	}
	etc := []string{"ld.so.cache", "alternatives", "localtime", "passwd", "group", "nsswitch.conf"}
	if network {
		etc = append(etc, "resolv.conf", "hosts", "ssl/certs", "ssl/openssl.cnf", "pki/tls", "pki/ca-trust", "ca-certificates")
	}
	for _, name := range etc {
		out = append(out, sandbox.Mount{Source: "/etc/" + name, Target: "/etc/" + name, Optional: true})
	}
	out = append(out, sandbox.Mount{Kind: sandbox.Tmpfs, Target: "/tmp", Write: true, Mode: 0o700, Size: 16 << 20})
	b := &builder{host: host}
	for _, name := range names {
		name = path.Clean(name)
		if covers(systemDirs(), name) {
			continue
		}
		real, m, ok := b.resolve(name)
		if !ok {
			continue // no file: what it means is the program's
		}
		if name == "/" || real == "/" || covers([]string{"/proc", "/sys", "/dev", "/run", "/etc"}, real) || !m.IsDir() && !m.IsRegular() {
			return nil, &Error{Err: fmt.Errorf("show %s to a program in a cage: it is more than a program's own files", name), Fix: "name files and directories of the program"}
		}
		out = append(out, sandbox.Mount{Source: real, Target: name})
	}
	return out, nil
}

// covers says whether a path is one of dirs or below it.
func covers(dirs []string, p string) bool {
	for _, d := range dirs {
		if within(p, d) {
			return true
		}
	}
	return false
}
