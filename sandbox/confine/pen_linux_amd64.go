package confine

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_X86_64
	hasX32    = true
	x32Bit    = 0x40000000 // __X32_SYSCALL_BIT
)

// oldCalls are numbers that only this architecture has: obsolete, privileged
// or both.
func oldCalls() []uint32 {
	return []uint32{
		unix.SYS_USELIB, unix.SYS_USTAT, unix.SYS_SYSFS, unix.SYS__SYSCTL, unix.SYS_MODIFY_LDT,
		unix.SYS_IOPL, unix.SYS_IOPERM,
		unix.SYS_CREATE_MODULE, unix.SYS_GET_KERNEL_SYMS, unix.SYS_QUERY_MODULE,
		unix.SYS_GETPMSG, unix.SYS_PUTPMSG, unix.SYS_AFS_SYSCALL, unix.SYS_TUXCALL, unix.SYS_SECURITY, unix.SYS_VSERVER,
	}
}

// oldTests adds the calls without a directory descriptor.
func oldTests(f *filter, eperm verdict) {
	f.test(unix.SYS_MKNOD, nodeRule(1, eperm)...)
	f.test(unix.SYS_CHMOD, refuseBits(1, setIDs, eperm)...)
	f.test(unix.SYS_OPEN, refuseBitsIf(1, unix.O_CREAT|oTmpfile, 2, setIDs, eperm)...)
	f.test(unix.SYS_CREAT, refuseBits(1, setIDs, eperm)...)
}

// proxyOldCalls are the same for the proxy role: other names of what it refuses.
func proxyOldCalls() []uint32 {
	return []uint32{
		unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_MKNOD, unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_LCHOWN,
		unix.SYS_SYMLINK, unix.SYS_LINK, unix.SYS_RENAME, unix.SYS_UNLINK, unix.SYS_RMDIR, unix.SYS_MKDIR,
	}
}
