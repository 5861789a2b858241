package microvm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// host is where the parts of a machine are looked for.
type host struct {
	emulators []string // files
	kernels   []string // patterns of files
	modules   []string // directories, with one for each kernel
}

func machine() host {
	return host{
		emulators: []string{"/usr/bin/" + emulatorName, "/usr/local/bin/" + emulatorName, "/usr/libexec/qemu-kvm"},
		kernels:   []string{"/boot/vmlinuz-*", "/usr/lib/modules/*/vmlinuz"},
		modules:   []string{"/lib/modules", "/usr/lib/modules"},
	}
}

const emulatorName = "qemu-system-x86_64"

// emulator finds QEMU.
func (h *host) emulator() (string, error) {
	if runtime.GOARCH != "amd64" {
		return "", companionOf().Refuse("use the tier bwrap or gvisor", "there are machines for amd64 only, and this is %s", runtime.GOARCH)
	}
	for _, name := range h.emulators {
		if _, err := exec.LookPath(name); err == nil {
			return name, nil
		}
	}
	return "", companionOf().Refuse("install it: apt install qemu-system-x86", "there is no QEMU: none of %s can be executed", strings.Join(h.emulators, ", "))
}

// kernel is one of the host's, with its modules.
type kernel struct{ file, modules string }

// kernel finds the newest one that can be read and has the drivers that a machine needs.
func (h *host) kernel(drivers ...string) (*kernel, error) {
	var found []string
	for _, pattern := range h.kernels {
		list, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		found = append(found, list...)
	}
	slices.SortStableFunc(found, func(a, b string) int { return newer(release(b), release(a)) })
	why := "there is none"
	for _, file := range found {
		k, reason := h.suits(file, drivers)
		if k != nil {
			return k, nil
		}
		if why == "there is none" {
			why = file + " " + reason
		}
	}
	return nil, companionOf().Refuse("install one with modules for virtio, 9p and vsock, readable for you: apt install linux-image-amd64",
		"no kernel for a machine in %s: %s", strings.Join(h.kernels, ", "), why)
}

// suits says why a kernel can't be a machine's.
func (h *host) suits(file string, drivers []string) (*kernel, string) {
	f, err := os.Open(file)
	if err != nil {
		return nil, "can't be read: " + cause(err)
	}
	f.Close()
	for _, dir := range h.modules {
		dir = filepath.Join(dir, release(file))
		list, err := os.ReadFile(filepath.Join(dir, "modules.order"))
		if err != nil {
			continue
		}
		built, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
		if err != nil {
			continue
		}
		for _, d := range drivers {
			if m := "/" + d + "."; !strings.Contains(string(list), m) && !strings.Contains(string(built), m) {
				return nil, "has no module " + d
			}
		}
		return &kernel{file, dir}, ""
	}
	return nil, "has no modules in " + strings.Join(h.modules, " or ")
}

func cause(err error) string {
	if os.IsPermission(err) {
		return "permission denied"
	}
	return err.Error()
}

// release is a kernel's version, by its file's name.
func release(file string) string {
	name := filepath.Base(file)
	if name == "vmlinuz" {
		return filepath.Base(filepath.Dir(file))
	}
	return strings.TrimPrefix(name, "vmlinuz-")
}

// newer compares versions: numbers as such.
func newer(a, b string) int {
	split := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return r == '.' || r == '-' || r == '+' || r == '_' })
	}
	as, bs := split(a), split(b)
	for i := range min(len(as), len(bs)) {
		x, ex := strconv.Atoi(as[i])
		y, ey := strconv.Atoi(bs[i])
		if ex == nil && ey == nil && x != y {
			return x - y
		}
		if c := strings.Compare(as[i], bs[i]); (ex != nil || ey != nil) && c != 0 {
			return c
		}
	}
	return len(as) - len(bs)
}

// maxImages bounds how many images stay, of some 70 MB each.
const maxImages = 3

// image returns the directory with what a machine boots. It is made once for a kernel
// and a program, outside of any pen, and shown to pens read-only.
func (b *Backend) image(ctx context.Context, k *kernel) (string, error) {
	if b.o.Cache == "" {
		return "", companionOf().Refuse("set XDG_CACHE_HOME or HOME", "there is no directory in which the machine's image can be kept")
	}
	key, err := identity(k.file, k.modules+"/modules.order", b.program)
	if err != nil {
		return "", companionOf().Refuse("try again", "look at the machine's kernel: %w", err)
	}
	all := filepath.Join(b.o.Cache, Name)
	dir := filepath.Join(all, key)
	if _, err := os.Stat(filepath.Join(dir, "initrd")); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(all, 0o700); err != nil {
		return "", companionOf().Refuse("make it writable for you", "make the machine's image: %w", err)
	}
	prune(all)
	out, err := exec.CommandContext(ctx, b.program, "image", dir, k.file, k.modules).CombinedOutput()
	if err != nil {
		text := strings.TrimPrefix(strings.TrimSpace(string(out)), "penstock: tier microvm: ")
		return "", companionOf().Refuse("install a kernel with modules for 9p and virtio: apt install linux-image-amd64", "make the machine's image: %w: %s", err, strconv.QuoteToGraphic(text))
	}
	return dir, nil
}

// identity tells files from others at the same paths.
func identity(files ...string) (string, error) {
	h := sha256.New()
	for _, name := range files {
		st, err := os.Stat(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%q %d %d", name, st.Size(), st.ModTime().UnixNano())
	}
	return hex.EncodeToString(h.Sum(nil))[:32], nil
}

// prune removes the images that were made first, as far as there are too many.
func prune(all string) {
	entries, err := os.ReadDir(all)
	if err != nil {
		return
	}
	type made struct {
		name string
		at   time.Time
	}
	var list []made
	for _, e := range entries {
		if st, err := e.Info(); err == nil {
			list = append(list, made{e.Name(), st.ModTime()})
		}
	}
	slices.SortFunc(list, func(a, b made) int { return b.at.Compare(a.at) })
	for _, m := range list[min(len(list), maxImages-1):] {
		os.RemoveAll(filepath.Join(all, m.name)) //nolint:errcheck // the next one tries again
	}
}
