package image

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/xi2/xz"
)

// Drivers are those of the devices of QEMU's machine; what they need comes with them.
func Drivers() []string {
	return []string{"virtio_pci", "virtio_console", "9pnet_virtio", "9p", "virtio_net"}
}

// VsockDrivers are those of the devices of Firecracker's.
func VsockDrivers() []string { return []string{"virtio_mmio", "vmw_vsock_virtio_transport"} }

// maxModule bounds a module that was decompressed.
const maxModule = 32 << 20

// Collect returns the modules of a kernel that drivers are made of, by their files' names,
// and the order in which they can be loaded. What the kernel has built in is left out.
func Collect(dir string, drivers []string) (order []string, files map[string][]byte, err error) {
	paths, err := names(filepath.Join(dir, "modules.order"))
	if err != nil {
		return nil, nil, err
	}
	built, err := names(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, nil, err
	}
	c := &collection{dir: dir, paths: paths, built: built, files: map[string][]byte{}}
	for _, name := range drivers {
		if err := c.add(name, 0); err != nil {
			return nil, nil, err
		}
	}
	return c.order, c.files, nil
}

type collection struct {
	dir          string
	paths, built map[string]string // by name
	order        []string
	files        map[string][]byte
}

// deepest bounds how many modules need each other in turn.
const deepest = 16

func (c *collection) add(name string, depth int) error {
	file := name + ".ko"
	if _, ok := c.files[file]; ok || c.built[name] != "" {
		return nil
	}
	p, ok := c.paths[name]
	if !ok || depth > deepest {
		return fmt.Errorf("the kernel of %s has no module %s", c.dir, name)
	}
	b, err := module(filepath.Join(c.dir, p))
	if err != nil {
		return err
	}
	needs, err := depends(b)
	if err != nil {
		return fmt.Errorf("read %s: %w", p, err)
	}
	for _, n := range needs {
		if err := c.add(n, depth+1); err != nil {
			return err
		}
	}
	c.files[file] = b
	c.order = append(c.order, file)
	return nil
}

// names reads a list of modules' paths.
func names(list string) (map[string]string, error) {
	b, err := os.ReadFile(list)
	if err != nil {
		return nil, fmt.Errorf("read what modules there are: %w", err)
	}
	out := map[string]string{}
	for _, p := range strings.Fields(string(b)) {
		if filepath.IsLocal(p) {
			out[moduleName(p)] = p
		}
	}
	return out, nil
}

// moduleName is a module's name, of which files may write "-" for "_".
func moduleName(p string) string {
	name, _, _ := strings.Cut(filepath.Base(p), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// depends returns what a module says that it needs.
func depends(b []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	s := f.Section(".modinfo")
	if s == nil {
		return nil, errors.New("it does not say what it needs")
	}
	info, err := s.Data()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, line := range strings.Split(string(info), "\x00") {
		list, ok := strings.CutPrefix(line, "depends=")
		if !ok {
			continue
		}
		for _, n := range strings.Split(list, ",") {
			if n != "" {
				out = append(out, moduleName(n))
			}
		}
	}
	return out, nil
}

// module reads a module's file, which may be compressed, whatever the list calls it.
func module(name string) (b []byte, err error) {
	bare, _, _ := strings.Cut(name, ".ko")
	for _, suffix := range []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"} {
		if b, err = os.ReadFile(bare + suffix); !os.IsNotExist(err) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read a module: %w", err)
	}
	out, err := decompress(b, maxModule)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return out, nil
}

// decompress returns what is in b, which is b itself if it is not compressed.
func decompress(b []byte, most int64) ([]byte, error) {
	var r io.Reader
	var err error
	switch {
	case bytes.HasPrefix(b, []byte("\xfd7zXZ\x00")):
		var x *xz.Reader
		if x, err = xz.NewReader(bytes.NewReader(b), 0); err == nil {
			x.Multistream(false) // what follows in a kernel is no stream
			r = x
		}
	case bytes.HasPrefix(b, []byte("\x1f\x8b")):
		var g *gzip.Reader
		if g, err = gzip.NewReader(bytes.NewReader(b)); err == nil {
			g.Multistream(false)
			r = g
		}
	case bytes.HasPrefix(b, []byte("\x28\xb5\x2f\xfd")):
		var z *zstd.Decoder
		if z, err = zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1)); err == nil {
			defer z.Close()
			r = z
		}
	default:
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(r, most+1))
	if int64(len(out)) > most {
		return nil, fmt.Errorf("more than %d bytes", most)
	}
	return out, err
}
