package main

import (
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/fspath"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
)

// Where others may change files meanwhile (file-access shared), gVisor drops the host's
// error when modes or times can't be set (gofer.dentry.setStat returns before it looks
// at failureErr): the command would be told that a set-user-id bit, which the pen's
// filter refuses, had been set, and that a file which is mounted read-only had been
// changed. So what these calls were to do is read back.

// change is what a call asks for.
type change struct {
	dir   int32
	path  hostarch.Addr // 0: dir itself
	link  bool          // a symbolic link is not followed
	mode  *uint16
	mtime *linux.Timespec
}

// done says whether a file that is as in s has been changed. Not every file system keeps
// times to the nanosecond, or all of them.
func (c *change) done(s linux.Statx) bool {
	if c.mode != nil && (s.Mode^*c.mode)&0o7777 != 0 {
		return false
	}
	if c.mtime == nil || c.mtime.Nsec == linux.UTIME_NOW || c.mtime.Nsec == linux.UTIME_OMIT {
		return true
	}
	return s.Mtime.Sec >= c.mtime.Sec-2 && s.Mtime.Sec <= c.mtime.Sec+2
}

// checkChanges makes the calls that change modes and times tell what came of it.
func checkChanges() {
	mode := func(a arch.SyscallArgument) *uint16 {
		m := uint16(a.ModeT() & 0o7777)
		return &m
	}
	calls := map[string]func(t *kernel.Task, args arch.SyscallArguments) change{
		"chmod": func(_ *kernel.Task, a arch.SyscallArguments) change {
			return change{dir: linux.AT_FDCWD, path: a[0].Pointer(), mode: mode(a[1])}
		},
		"fchmod": func(_ *kernel.Task, a arch.SyscallArguments) change {
			return change{dir: a[0].Int(), mode: mode(a[1])}
		},
		"fchmodat": func(_ *kernel.Task, a arch.SyscallArguments) change {
			return change{dir: a[0].Int(), path: a[1].Pointer(), mode: mode(a[2])}
		},
		"utimensat": func(t *kernel.Task, a arch.SyscallArguments) change {
			c := change{dir: a[0].Int(), path: a[1].Pointer(), link: a[3].Int()&linux.AT_SYMLINK_NOFOLLOW != 0}
			var times [2]linux.Timespec
			if a[2].Pointer() == 0 {
				return c
			}
			if _, err := linux.CopyTimespecSliceIn(t, a[2].Pointer(), times[:]); err == nil {
				c.mtime = &times[1]
			}
			return c
		},
	}
	for _, table := range kernel.SyscallTables() {
		for name, asked := range calls {
			no, err := table.LookupNo(name)
			if err != nil {
				continue // arm64 has no chmod
			}
			call := table.Table[no]
			do := call.Fn
			call.Fn = func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
				r, ctl, err := do(t, no, args)
				if err != nil {
					return r, ctl, err
				}
				c := asked(t, args)
				if c.mode == nil && c.mtime == nil {
					return r, ctl, nil
				}
				// Another may have changed it in between, so once more.
				for range 2 {
					if s, err := c.stat(t); err != nil || c.done(s) {
						return r, ctl, nil
					}
					if _, _, err := do(t, no, args); err != nil {
						return 0, nil, err
					}
				}
				return 0, nil, linuxerr.EPERM
			}
			table.Table[no] = call
		}
		table.Init()
	}
}

// stat is what the file is like. An error is that it has gone meanwhile.
func (c *change) stat(t *kernel.Task) (linux.Statx, error) {
	opts := vfs.StatOptions{Mask: linux.STATX_MODE | linux.STATX_MTIME}
	if c.path == 0 {
		file := t.GetFile(c.dir)
		if file == nil {
			return linux.Statx{}, linuxerr.EBADF
		}
		defer file.DecRef(t)
		return file.Stat(t, opts)
	}
	name, err := t.CopyInString(c.path, linux.PATH_MAX)
	if err != nil {
		return linux.Statx{}, err
	}
	op := vfs.PathOperation{Root: t.FSContext().RootDirectory(), Path: fspath.Parse(name), FollowFinalSymlink: !c.link}
	defer op.Root.DecRef(t)
	switch {
	case op.Path.Absolute:
		op.Start = op.Root
	case c.dir == linux.AT_FDCWD:
		op.Start = t.FSContext().WorkingDirectory()
		defer op.Start.DecRef(t)
	default:
		file := t.GetFile(c.dir)
		if file == nil {
			return linux.Statx{}, linuxerr.EBADF
		}
		defer file.DecRef(t)
		op.Start = file.VirtualDentry()
	}
	return t.Kernel().VFS().StatAt(t, t.Credentials(), &op, &opts)
}
