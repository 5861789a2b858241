package container

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// most bounds what is read of a file.
const most = 1 << 20

// Read looks where this process is. What can't be read is not there.
func Read() Place { return read("/", os.Getpid(), os.Environ()) }

// read is Read of what is below a directory, for the process that is pid.
func read(below string, pid int, environ []string) Place {
	text := func(name string) string {
		f, err := os.Open(filepath.Join(below, name))
		if err != nil {
			return ""
		}
		defer f.Close()
		b := make([]byte, most)
		n := 0
		for n < most {
			m, err := f.Read(b[n:])
			n += m
			if err != nil {
				break
			}
		}
		return strings.TrimRight(string(b[:n]), "\n\x00 ")
	}
	there := func(name string) bool {
		_, err := os.Lstat(filepath.Join(below, name))
		return err == nil
	}
	var p Place
	p.Engine = engine(text, there, environ)
	p.Nested = nested(text("proc/self/uid_map"))
	root := false
	for line := range strings.Lines(text("proc/self/status")) {
		if f := strings.Fields(line); len(f) == 5 && f[0] == "Uid:" { // real, effective, …
			root = f[2] == "0"
		}
		if v, ok := strings.CutPrefix(line, "Seccomp:"); ok {
			p.Seccomp = strings.TrimSpace(v) == "2"
		}
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok && root {
			caps, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			p.Mapless = err == nil && caps&(1<<unix.CAP_SETFCAP) == 0
		}
	}
	p.Label = label(text)
	p.Covered = covered(text("proc/self/mountinfo"))
	self, err := os.Readlink(filepath.Join(below, "proc/self"))
	p.Foreign = err != nil || self != strconv.Itoa(pid)
	return p
}

// engine goes by what the engines themselves put into a container, the most specific
// first: Kubernetes has its containers made by another engine.
func engine(text func(string) string, there func(string) bool, environ []string) string {
	variable := ""
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		switch k {
		case "KUBERNETES_SERVICE_HOST":
			if v != "" {
				return "kubernetes"
			}
		case "container": // https://systemd.io/CONTAINER_INTERFACE
			variable = v
		}
	}
	switch {
	case variable == "oci", variable == "": // what made it doesn't say
	case plain(variable):
		return variable
	}
	switch {
	case there("run/.containerenv"):
		return "podman"
	case there(".dockerenv"):
		return "docker"
	}
	if v := text("run/systemd/container"); plain(v) && v != "" {
		return v
	}
	for line := range strings.Lines(text("proc/self/cgroup")) {
		switch {
		case strings.Contains(line, "/kubepods"):
			return "kubernetes"
		case strings.Contains(line, "/libpod"):
			return "podman"
		case strings.Contains(line, "/docker"):
			return "docker"
		case strings.Contains(line, "/lxc/"), strings.Contains(line, "/lxc.payload"):
			return "lxc"
		}
	}
	if plain(variable) {
		return variable
	}
	return ""
}

// plain is a word that can stand in a message.
func plain(s string) bool {
	return len(s) <= 32 && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	}) < 0
}

// nested reads a map of user ids (user_namespaces(7)): the machine's own maps every id
// to itself.
func nested(uids string) bool {
	f := strings.Fields(uids)
	return len(f) > 0 && (len(f) != 3 || f[0] != "0" || f[1] != "0" || f[2] != "4294967295")
}

// label is what a security module says of this process, if that means anything.
func label(text func(string) string) string {
	l := text("proc/self/attr/apparmor/current")
	if l == "" {
		l = text("proc/self/attr/current")
	}
	if l == "unconfined" || strings.HasSuffix(l, "(unconfined)") || len(l) > 256 ||
		strings.IndexFunc(l, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
		return ""
	}
	return l
}

// covered counts what covers parts of /proc: as long as something does, the kernel lets
// no user namespace mount another (mount_too_revealing in fs/namespace.c). Over an
// empty directory it doesn't matter, which is what binfmt_misc is mounted on.
func covered(info string) (n int) {
	for line := range strings.Lines(info) {
		f := strings.Fields(line) // proc(5): id parent device root point …
		if len(f) < 5 {
			continue
		}
		if strings.HasPrefix(f[4], "/proc/") && f[4] != "/proc/sys/fs/binfmt_misc" {
			n++
		}
	}
	return n
}
