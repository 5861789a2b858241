package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/seccheck"
	pb "gvisor.dev/gvisor/pkg/sentry/seccheck/points/points_go_proto"
	"gvisor.dev/gvisor/pkg/sentry/socket"
	slinux "gvisor.dev/gvisor/pkg/sentry/syscalls/linux"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
)

// tracer hears of gVisor's trace points, on the goroutine of the task that each is
// about, and keeps a journal. It refuses nothing: all that it returns is nil.
type tracer struct {
	seccheck.SinkDefaults
	journal *journal
	watched []watch
}

var _ seccheck.Sink = (*tracer)(nil)

// watch is a path of which it is told that somebody opens it, or what is below it.
type watch struct {
	path    string
	written bool // only to write
}

// trace begins to write to fd, and returns nothing to stop it: it ends with the kernel.
// watched is a file that lists paths, each ended by NUL, behind r or w for "any way" or
// "to write".
func trace(fd int, watched string) error {
	t := &tracer{journal: newJournal(fd)}
	if watched != "" {
		list, err := os.ReadFile(watched)
		if err != nil {
			return fmt.Errorf("read what is watched: %w", err)
		}
		for _, w := range bytes.Split(list, []byte{0}) {
			if len(w) > 1 {
				t.watched = append(t.watched, watch{string(w[1:]), w[0] == 'w'})
			}
		}
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("open the journal: %w", err)
	}
	about := seccheck.FieldSet{Context: identity()}
	points := []seccheck.PointReq{
		{Pt: seccheck.PointContainerStart, Fields: about}, {Pt: seccheck.PointClone, Fields: about},
		{Pt: seccheck.PointExecve}, {Pt: seccheck.PointExitNotifyParent, Fields: about},
		{Pt: seccheck.GetPointForSyscall(seccheck.SyscallRawExit, unix.SYS_CONNECT)},
	}
	if len(t.watched) > 0 {
		for _, n := range opens() {
			points = append(points, seccheck.PointReq{Pt: seccheck.GetPointForSyscall(seccheck.SyscallRawExit, n)})
		}
	}
	seccheck.Global.AppendSink(t, points)
	return nil
}

// identity is what tells a process from all others.
func identity() seccheck.FieldMask {
	return seccheck.MakeFieldMask(seccheck.FieldCtxtThreadGroupID, seccheck.FieldCtxtThreadGroupStartTime, seccheck.FieldCtxtThreadID, seccheck.FieldCtxtCredentials)
}

func subjectOf(d *pb.ContextData) *subject {
	return &subject{pid: d.ThreadGroupId, tid: d.ThreadId, uid: d.GetCredentials().GetRealUid(), start: d.ThreadGroupStartTimeNs}
}

func about(t *kernel.Task) *subject {
	var d pb.ContextData
	kernel.LoadSeccheckData(t, identity(), &d)
	return subjectOf(&d)
}

// Name implements seccheck.Sink.
func (*tracer) Name() string { return "penstock" }

// ContainerStart tells of the command.
func (t *tracer) ContainerStart(_ context.Context, _ seccheck.FieldSet, info *pb.Start) error {
	if len(info.Args) > 0 {
		t.journal.exec(subjectOf(info.ContextData), &subject{}, info.Args[0], info.Args[0], info.Args)
	}
	return nil
}

// Clone tells of a new process, not of a thread.
func (t *tracer) Clone(ctx context.Context, _ seccheck.FieldSet, info *pb.CloneInfo) error {
	if info.CreatedThreadId == info.CreatedThreadGroupId {
		t.meet(kernel.TaskFromContext(ctx))
		t.journal.fork(subjectOf(info.ContextData), info.CreatedThreadGroupId, info.CreatedThreadStartTimeNs)
	}
	return nil
}

// Execve tells of a file that is about to be executed.
func (t *tracer) Execve(ctx context.Context, _ seccheck.FieldSet, info *pb.ExecveInfo) error {
	task := kernel.TaskFromContext(ctx)
	if task == nil {
		return nil
	}
	parent := &subject{}
	if p := task.Parent(); p != nil {
		parent = about(p)
	}
	file := info.BinaryPath
	if file == "" {
		file = info.Execfn
	}
	t.meet(task)
	t.journal.exec(about(task), parent, file, info.Execfn, info.Argv)
	return nil
}

// meet tells of a further command before anything else is told of it: gVisor itself
// does not tell when it starts one. The caller runs on the task's goroutine.
func (t *tracer) meet(task *kernel.Task) {
	if task == nil {
		return
	}
	if s := about(task); !t.journal.knows(s) {
		args := arguments(task)
		t.journal.exec(s, &subject{}, executable(task, args[0]), args[0], args)
	}
}

// executable is the path of the file that a task's process has executed, or else name.
func executable(task *kernel.Task, name string) string {
	if mm := task.MemoryManager(); mm != nil {
		if file := mm.Executable(); file != nil {
			defer file.DecRef(task)
			return pathOf(task, file)
		}
	}
	return name
}

// arguments are those of a task's process, as it shows them.
func arguments(task *kernel.Task) []string {
	mm := task.MemoryManager()
	if mm == nil {
		return []string{task.Name()}
	}
	start, end := mm.ArgvStart(), mm.ArgvEnd()
	if end <= start {
		return []string{task.Name()}
	}
	b := make([]byte, min(int(end-start), mostArgs))
	n, _ := task.CopyInBytes(start, b)
	if args := strings.Split(strings.TrimRight(string(b[:n]), "\x00"), "\x00"); args[0] != "" {
		return args
	}
	return []string{task.Name()}
}

// ExitNotifyParent tells of a process that has ended. The kernel's lock is held.
func (t *tracer) ExitNotifyParent(_ context.Context, _ seccheck.FieldSet, info *pb.ExitNotifyParentInfo) error {
	t.journal.exit(subjectOf(info.ContextData), info.ExitStatus)
	return nil
}

// RawSyscall tells of connections and of opened files, when the call is over: a
// connection has its port then, and a file its name.
func (t *tracer) RawSyscall(ctx context.Context, _ seccheck.FieldSet, info *pb.Syscall) error {
	task := kernel.TaskFromContext(ctx)
	if task == nil || info.Exit == nil {
		return nil
	}
	t.meet(task)
	if info.Sysno == unix.SYS_CONNECT {
		t.connect(task, info)
	} else {
		t.open(task, info)
	}
	return nil
}

func (t *tracer) connect(task *kernel.Task, info *pb.Syscall) {
	switch unix.Errno(info.Exit.Errorno) {
	case 0, unix.EINPROGRESS, unix.EINTR:
	default:
		if info.Exit.Errorno < 512 { // behind it are those that the kernel starts again
			return
		}
	}
	file, _ := task.FDTable().Get(int32(info.Arg1))
	if file == nil {
		return
	}
	defer file.DecRef(task)
	s, ok := file.Impl().(socket.Socket)
	if !ok {
		return
	}
	if family, kind, _ := s.Type(); family != linux.AF_INET && family != linux.AF_INET6 || kind&0xf != linux.SOCK_STREAM {
		return
	}
	raw, err := slinux.CaptureAddress(task, hostarch.Addr(info.Arg2), uint32(info.Arg3))
	if err != nil {
		return
	}
	target, ok := addressOf(raw)
	if !ok {
		return
	}
	if target.Addr().IsUnspecified() { // as the kernel takes it
		loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if target.Addr().Is6() {
			loopback = netip.IPv6Loopback()
		}
		target = netip.AddrPortFrom(loopback, target.Port())
	}
	own, _, serr := s.GetSockName(task)
	if serr != nil {
		return
	}
	var source netip.AddrPort
	switch a := own.(type) {
	case *linux.SockAddrInet:
		source = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), swap(a.Port))
	case *linux.SockAddrInet6:
		source = netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), swap(a.Port))
	default:
		return
	}
	t.journal.flow(about(task), source, target)
}

// swap reads a port that is in network byte order.
func swap(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}

// addressOf reads a struct sockaddr of the internet's.
func addressOf(b []byte) (netip.AddrPort, bool) {
	if len(b) < 8 {
		return netip.AddrPort{}, false
	}
	port := binary.BigEndian.Uint16(b[2:])
	switch family := binary.NativeEndian.Uint16(b); {
	case family == linux.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), port), true
	case family == linux.AF_INET6 && len(b) >= 24:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])).Unmap(), port), true
	}
	return netip.AddrPort{}, false
}

// open tells of a watched file, by the name that it was asked for or the one that it has.
func (t *tracer) open(task *kernel.Task, info *pb.Syscall) {
	at, addr, flags := opened(task, info)
	write := flags&linux.O_ACCMODE != linux.O_RDONLY || flags&(linux.O_CREAT|linux.O_TRUNC) != 0
	name, err := task.CopyInString(hostarch.Addr(addr), linux.PATH_MAX)
	if err != nil {
		return
	}
	if !path.IsAbs(name) {
		name = path.Join(directory(task, at), name)
	}
	name = path.Clean(name)
	if !t.watches(name, write) {
		if info.Exit.Errorno != 0 {
			return
		}
		if name = fileName(task, int32(info.Exit.Result)); !t.watches(name, write) {
			return
		}
	}
	t.journal.open(about(task), name, write, info.Exit.Errorno)
}

func (t *tracer) watches(name string, write bool) bool {
	for _, w := range t.watched {
		if rest, ok := strings.CutPrefix(name, w.path); ok && (rest == "" || rest[0] == '/') && (write || !w.written) {
			return true
		}
	}
	return false
}

// directory is what a name that is not absolute begins at.
func directory(task *kernel.Task, at int32) string {
	if at != linux.AT_FDCWD {
		return fileName(task, at)
	}
	var d pb.ContextData
	kernel.LoadSeccheckData(task, seccheck.MakeFieldMask(seccheck.FieldCtxtCwd), &d)
	return d.Cwd
}

// fileName is the name of an open file, "" if it has none.
func fileName(task *kernel.Task, fd int32) string {
	file, _ := task.FDTable().Get(fd)
	if file == nil {
		return ""
	}
	defer file.DecRef(task)
	return pathOf(task, file)
}

func pathOf(task *kernel.Task, file *vfs.FileDescription) string {
	root := task.MountNamespace().Root(task)
	defer root.DecRef(task)
	name, err := task.Kernel().VFS().PathnameWithDeleted(task, root, file.VirtualDentry())
	if err != nil {
		return ""
	}
	return name
}

// opened takes a call's arguments apart: the directory, where the name is, the flags.
func opened(task *kernel.Task, info *pb.Syscall) (at int32, name uint64, flags uint64) {
	if at, name, flags, ok := openedByName(info); ok {
		return at, name, flags
	}
	if info.Sysno == unix.SYS_OPENAT2 {
		var how [8]byte // the flags come first
		if _, err := task.CopyInBytes(hostarch.Addr(info.Arg3), how[:]); err == nil {
			flags = binary.NativeEndian.Uint64(how[:])
		}
		return int32(info.Arg1), info.Arg2, flags
	}
	return int32(info.Arg1), info.Arg2, info.Arg3
}
