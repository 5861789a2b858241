// Command image makes a container image of Penstock without an engine: an OCI layout in a
// tar, from Debian's package files and the programs that were built.
//
//	image -debs DIR -penstock FILE [-gvisor FILE] [-seccomp FILE] [-arch ARCH] -time SECONDS -version V -o FILE
//
// In it are bubblewrap with its libraries, the certificates of authorities, busybox for
// a shell, and nothing that runs by itself. The same files give the same bytes. It
// writes tar, gzip and JSON with Go's library: what an image of one layer needs of the
// specification are three small documents, where a registry's library would be 20 more
// modules to trust with the bytes that everybody runs.
//
// Its hazard is what it puts there: whoever can change a package file here is root in
// everybody's container. It takes what apt-get has fetched and verified, refuses paths
// that leave the root and files of two packages, and writes the packages' names, versions
// and sums into the image. No maintainer script is run. Nobody imports this package;
// packaging/image runs it.
package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// uid is the number of the user penstock, the first that engines give to ordinary users.
const uid = 1000

type options struct {
	debs, penstock, gvisor, seccomp string
	arch, version, out              string
	when                            time.Time
}

// dropped are files that nobody reads in a container.
func dropped(name string) bool {
	for _, dir := range []string{"usr/share/doc", "usr/share/man", "usr/share/lintian", "usr/share/bug", "usr/share/bash-completion", "usr/share/zsh", "usr/share/initramfs-tools",
		"usr/share/info", "usr/share/doc-base", "usr/lib/x86_64-linux-gnu/gconv", "usr/lib/aarch64-linux-gnu/gconv", "usr/lib/x86_64-linux-gnu/audit", "boot", "etc/update-motd.d"} {
		// Licences stay: they are to go with the files.
		if (name == dir || strings.HasPrefix(name, dir+"/")) && path.Base(name) != "copyright" {
			return true
		}
	}
	return false
}

// debian puts the packages of a directory into the tree and returns the list of them.
func (t tree) debian(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("%s holds no package files: packaging/image fetches them", dir)
	}
	var list []string
	for _, f := range files { // sorted
		b, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		about, err := exec.Command("dpkg-deb", "--showformat=${Package} ${Version} ${Architecture}", "--show", f).Output()
		if err != nil {
			return "", fmt.Errorf("read %s: dpkg-deb: %w", f, err)
		}
		list = append(list, fmt.Sprintf("%s %s\n", about, digest(b)))
		content, err := exec.Command("dpkg-deb", "--fsys-tarfile", f).Output()
		if err != nil {
			return "", fmt.Errorf("read %s: dpkg-deb: %w", f, err)
		}
		if err := t.add(bytes.NewReader(content), dropped); err != nil {
			return "", fmt.Errorf("read %s: %w", f, err)
		}
	}
	slices.Sort(list)
	return strings.Join(list, ""), nil
}

// applets are the names under which busybox is called: what a script of an agent's, and
// penstock doctor, ask for. It would say all of them itself, if it could be run here.
func applets() []string {
	return strings.Fields(`ash awk base64 basename cat chmod chown clear cmp cp cut date dd df diff dirname du echo egrep env expr
		false fgrep find grep gunzip gzip head hostname httpd id ip kill less ln ls md5sum mkdir mktemp mount mv nc nslookup od patch
		pidof ping printf ps pwd readlink realpath rm rmdir sed seq sh sha256sum sleep sort stat stty tail tar tee test
		timeout top touch tr true tty umount uname uniq unzip vi wc wget which whoami xargs xz yes`)
}

// certificates are all authorities of ca-certificates in one file, as update-ca-certificates
// writes it.
func (t tree) certificates() error {
	const dir = "usr/share/ca-certificates/mozilla"
	var names []string
	for name := range t {
		if path.Dir(name) == dir && strings.HasSuffix(name, ".crt") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return errors.New("no package of these has the certificates of authorities: ca-certificates")
	}
	slices.Sort(names)
	var all []byte
	for _, name := range names {
		all = append(all, bytes.TrimRight(t[name].data, "\n")...)
		all = append(all, '\n')
	}
	t.file("etc/ssl/certs/ca-certificates.crt", 0o644, all)
	return nil
}

// users writes the files of users and groups, and the directories that penstock has.
func (t tree) users() {
	t.file("etc/passwd", 0o644, fmt.Appendf(nil, "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\npenstock:x:%[1]d:%[1]d:Penstock:/home/penstock:/bin/sh\n", uid))
	t.file("etc/group", 0o644, fmt.Appendf(nil, "root:x:0:\nnogroup:x:65534:\npenstock:x:%d:\n", uid))
	t.file("etc/nsswitch.conf", 0o644, []byte("passwd: files\ngroup: files\nhosts: files dns\n"))
	n := t.dir("work", 0o755)
	n.head.Uid, n.head.Gid = uid, uid
	// For any user that an engine is told, and for a tmpfs there, which gets this mode.
	t.dir("home/penstock", 0o1777)
}

// programs puts ours in, and looks that each is for this architecture and needs no
// library but those that are there.
func (t tree) programs(o *options) error {
	machine, ok := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[o.arch]
	if !ok {
		return fmt.Errorf("no image is made for %s", o.arch)
	}
	for _, p := range []struct{ from, to string }{{o.penstock, "usr/bin/penstock"}, {o.gvisor, "usr/libexec/penstock/penstock-gvisor"}} {
		if p.from == "" {
			continue
		}
		b, err := os.ReadFile(p.from)
		if err != nil {
			return err
		}
		t.file(p.to, 0o755, b)
		libraries, err := needs(b, machine)
		if err != nil || len(libraries) > 0 {
			return fmt.Errorf("%s: want a static program: needs %v (%w)", p.from, libraries, err)
		}
	}
	bwrap := t["usr/bin/bwrap"]
	if bwrap == nil || t["bin/busybox"] == nil {
		return errors.New("no package of these has usr/bin/bwrap, or bin/busybox")
	}
	missing, err := needs(bwrap.data, machine)
	if err != nil {
		return fmt.Errorf("usr/bin/bwrap: %w", err)
	}
	for seen := map[string]bool{}; len(missing) > 0; {
		name := missing[0]
		missing = missing[1:]
		if seen[name] {
			continue
		}
		seen[name] = true
		lib := t.library(name)
		if lib == nil {
			return fmt.Errorf("usr/bin/bwrap needs %s, which no package of these has", name)
		}
		more, err := needs(lib.data, machine)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		missing = append(missing, more...)
	}
	return nil
}

// needs reads the libraries that a program names.
func needs(program []byte, machine elf.Machine) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return nil, err
	}
	if f.Machine != machine {
		return nil, fmt.Errorf("is for %s", f.Machine)
	}
	return f.ImportedLibraries()
}

// library finds one by its name, through a link.
func (t tree) library(name string) *node {
	for at, n := range t {
		if path.Base(at) != name || !strings.Contains(at, "lib") {
			continue
		}
		for range 8 {
			if n == nil || len(n.head.Linkname) == 0 {
				break
			}
			to := n.head.Linkname
			if !path.IsAbs(to) {
				to = path.Join("/", path.Dir(at), to)
			}
			at = strings.TrimPrefix(to, "/")
			n = t[at]
		}
		if n != nil && n.data != nil {
			return n
		}
	}
	return nil
}

// build returns the image.
func build(o *options) ([]byte, error) {
	t := tree{}
	list, err := t.debian(o.debs)
	if err != nil {
		return nil, err
	}
	if err := t.programs(o); err != nil {
		return nil, err
	}
	if err := t.certificates(); err != nil {
		return nil, err
	}
	t.users()
	for _, name := range applets() {
		if t["bin/"+name] == nil && t["usr/bin/"+name] == nil {
			t.link("bin/"+name, "busybox")
		}
	}
	t.file("usr/share/penstock/container/packages", 0o644, []byte(list))
	if o.seccomp != "" {
		b, err := os.ReadFile(o.seccomp)
		if err != nil {
			return nil, err
		}
		t.file("usr/share/penstock/container/seccomp.json", 0o644, b)
	}
	layer, err := t.layer(o.when)
	if err != nil {
		return nil, err
	}
	return archive(layer, o.arch, "penstock:"+tagged(o.version), o.when, runConfig{
		User: fmt.Sprint(uid), WorkingDir: "/work",
		Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/home/penstock"},
		Entrypoint: []string{"/usr/bin/penstock"}, Cmd: []string{"doctor", "--no-clients"},
		Labels: map[string]string{
			"org.opencontainers.image.title": "Penstock", "org.opencontainers.image.licenses": "Apache-2.0",
			"org.opencontainers.image.source": "https://github.com/penstock/penstock", "org.opencontainers.image.version": o.version,
		},
	})
}

// tagged is a version as a tag can have it.
func tagged(version string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, version)
}

func main() {
	var o options
	var seconds int64
	f := flag.NewFlagSet("image", flag.ContinueOnError)
	f.StringVar(&o.debs, "debs", "", "directory of Debian package files")
	f.StringVar(&o.penstock, "penstock", "", "the program")
	f.StringVar(&o.gvisor, "gvisor", "", "the program penstock-gvisor; none: no tier gvisor")
	f.StringVar(&o.seccomp, "seccomp", "", "the profile for engines")
	f.StringVar(&o.arch, "arch", "amd64", "architecture, as Go has it")
	f.StringVar(&o.version, "version", "dev", "of Penstock")
	f.StringVar(&o.out, "o", "", "file to write")
	f.Int64Var(&seconds, "time", 0, "time of everything in the image, in seconds of Unix")
	if err := f.Parse(os.Args[1:]); err != nil {
		os.Exit(2)
	}
	o.when = time.Unix(seconds, 0).UTC()
	b, err := build(&o)
	if err == nil {
		err = save(o.out, b)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
	fmt.Printf("%s  %s\n", digest(b), o.out)
}
