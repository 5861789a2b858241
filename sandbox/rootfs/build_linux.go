package rootfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox"
)

// maxDocument bounds the description, in bytes.
const maxDocument = 16 << 20

// Build reads a Root from descriptor fd, gives the calling thread a mount
// namespace of its own and puts the root together at Base. The thread must be
// locked; it is the one that executes bwrap.
func Build(fd int) error {
	doc, err := io.ReadAll(io.LimitReader(io.NewSectionReader(fdReader(fd), 0, maxDocument), maxDocument))
	if err != nil {
		return fmt.Errorf("read the pen's root: %w", err)
	}
	var r Root
	if err := json.Unmarshal(doc, &r); err != nil {
		return fmt.Errorf("read the pen's root: %w", err)
	}
	// This also gives the thread a umask of its own.
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	mask := unix.Umask(0)
	defer unix.Umask(mask)
	return r.build()
}

type fdReader int

func (f fdReader) ReadAt(b []byte, off int64) (int, error) {
	n, err := unix.Pread(int(f), b, off)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return max(n, 0), err
}

// build: here we are root of the user namespace that owns this mount namespace,
// with the caller's id on the host.
func (r *Root) build() error {
	// What was inherited are slaves already; nothing shall come in either.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("separate mounts from the host's: %w", err)
	}
	trees := make([]int, len(r.Mounts))
	defer func() {
		for _, t := range trees {
			if t > 0 {
				unix.Close(t)
			}
		}
	}()
	for i := range r.Mounts {
		t, err := r.source(i)
		if err != nil {
			return fmt.Errorf("open %s: %w", r.Mounts[i].Source, err)
		}
		trees[i] = t
	}
	nodes, err := r.nodes()
	defer func() {
		for _, t := range nodes {
			unix.Close(t)
		}
	}()
	if err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", Base, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount the pen's root: %w", err)
	}
	root, err := unix.Open(Base, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the pen's root: %w", err)
	}
	defer unix.Close(root)
	for i := range r.Mounts {
		if err := r.mount(root, i, trees[i]); err != nil {
			return fmt.Errorf("mount %s: %w", r.Mounts[i].Target, err)
		}
	}
	if err := r.files(root); err != nil {
		return err
	}
	if r.Devices {
		if err := makeDev(root, nodes); err != nil {
			return fmt.Errorf("make /dev: %w", err)
		}
	}
	for _, d := range r.Dirs {
		fd, err := r.point(root, d, true, len(r.Mounts))
		if err != nil {
			return fmt.Errorf("make %s: %w", d, err)
		}
		unix.Close(fd)
	}
	return nil
}

// source clones the tree that mount i shows, with its attributes set: so it is
// never visible with others. 0 if there is none.
func (r *Root) source(i int) (int, error) {
	m := &r.Mounts[i]
	attrs := uint64(unix.MOUNT_ATTR_NOSUID)
	name := m.Source
	switch m.Kind {
	case sandbox.Bind:
		attrs |= unix.MOUNT_ATTR_NODEV
		if !m.Write {
			attrs |= unix.MOUNT_ATTR_RDONLY
		}
	case sandbox.Blank:
		name = "/dev/null"
		attrs |= unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_RDONLY
	case sandbox.Null:
		name = "/dev/null"
	default:
		return 0, nil
	}
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC}
	if m.Kind == sandbox.Bind && r.strict(i) {
		how.Resolve = unix.RESOLVE_NO_SYMLINKS
	}
	fd, err := unix.Openat2(unix.AT_FDCWD, name, how)
	if errors.Is(err, unix.ENOENT) && m.Optional {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return clone(fd, attrs)
}

// clone makes a detached copy of the tree at an open file or directory.
func clone(fd int, attrs uint64) (int, error) {
	tree, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if err != nil {
		return 0, fmt.Errorf("clone tree: %w", err)
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attrs}); err != nil {
		unix.Close(tree)
		return 0, fmt.Errorf("restrict tree: %w", err)
	}
	return tree, nil
}

// mount puts mount i in its place.
func (r *Root) mount(root, i, tree int) error {
	m := &r.Mounts[i]
	switch m.Kind {
	case sandbox.Symlink:
		parent, err := r.point(root, path.Dir(m.Target), true, i)
		if err != nil {
			return err
		}
		defer unix.Close(parent)
		if !r.inMemory(m.Target, i) {
			return errors.New("a link can't be made there")
		}
		return unix.Symlinkat(m.Source, parent, path.Base(m.Target))
	case sandbox.Tmpfs, sandbox.BlankDir:
		fd, err := r.point(root, m.Target, true, i)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		flags, options := tmpfs(m)
		return unix.Mount("tmpfs", "/proc/self/fd/"+strconv.Itoa(fd), "tmpfs", flags, options)
	}
	if tree == 0 {
		return nil // optional, and not there
	}
	var st unix.Stat_t
	if err := unix.Fstat(tree, &st); err != nil {
		return err
	}
	fd, err := r.point(root, m.Target, st.Mode&unix.S_IFMT == unix.S_IFDIR, i)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.MoveMount(tree, "", fd, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// tmpfs returns the flags and options of a file system in memory.
func tmpfs(m *sandbox.Mount) (uintptr, string) {
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
	if m.Kind == sandbox.BlankDir {
		return flags, "mode=0555,size=4096"
	}
	mode := m.Mode
	if mode == 0 {
		mode = 0o755
	}
	options := fmt.Sprintf("mode=%#o", mode)
	if m.Size > 0 {
		options += ",size=" + strconv.FormatInt(m.Size, 10)
	}
	return flags, options
}

// point opens the place of a mount, which n mounts are before. What is missing
// is made if it would be in memory. No link is followed.
func (r *Root) point(root int, target string, dir bool, n int) (int, error) {
	rel := strings.TrimPrefix(target, "/")
	if rel == "" {
		return unix.Dup(root)
	}
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS}
	fd, err := unix.Openat2(root, rel, how)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	if !r.inMemory(target, n) {
		return 0, fmt.Errorf("there is nothing to mount over: %w", err)
	}
	parent, err := r.point(root, path.Dir(target), true, n)
	if err != nil {
		return 0, err
	}
	defer unix.Close(parent)
	if dir {
		err = unix.Mkdirat(parent, path.Base(target), 0o755)
	} else {
		err = unix.Mknodat(parent, path.Base(target), unix.S_IFREG|0o444, 0)
	}
	if err != nil {
		return 0, err
	}
	return unix.Openat2(root, rel, how)
}

// filesDir is where the contents of files are while they are mounted.
const filesDir = ".files"

// files mounts the pen's own files over their places. What is mounted lives on
// when its name is gone.
func (r *Root) files(root int) error {
	if len(r.Files) == 0 {
		return nil
	}
	if err := unix.Mkdirat(root, filesDir, 0o700); err != nil {
		return fmt.Errorf("make %s: %w", filesDir, err)
	}
	for i, f := range r.Files {
		name := filesDir + "/" + strconv.Itoa(i)
		if err := r.file(root, name, &f); err != nil {
			return fmt.Errorf("put %s into the pen: %w", f.Target, err)
		}
		if err := unix.Unlinkat(root, name, 0); err != nil {
			return fmt.Errorf("put %s into the pen: %w", f.Target, err)
		}
	}
	return unix.Unlinkat(root, filesDir, unix.AT_REMOVEDIR)
}

func (r *Root) file(root int, name string, f *sandbox.File) error {
	mode := f.Mode
	if mode == 0 {
		mode = 0o444
	}
	fd, err := unix.Openat(root, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, mode)
	if err != nil {
		return err
	}
	for b := f.Content; len(b) > 0; {
		n, err := unix.Write(fd, b)
		if err != nil {
			unix.Close(fd)
			return err
		}
		b = b[n:]
	}
	tree, err := clone(fd, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	unix.Close(fd)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	at, err := r.point(root, f.Target, false, len(r.Mounts))
	if err != nil {
		return err
	}
	defer unix.Close(at)
	return unix.MoveMount(tree, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}
