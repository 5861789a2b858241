// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The life of a session's processes: fork, exec, exit. From them package
 * ebpf/events rebuilds which executable each process ran at each moment, and
 * who started it.
 *
 * Raw tracepoints: they need no trampoline (tp_btf does on some kernels) and no
 * format of a trace file. Fields are found through the kernel's BTF.
 *
 * Adversary: a tool that forks and executes as fast as it can, with names and
 * arguments of any bytes. What does not fit is counted as lost and makes the
 * reader doubt what it knows, never guess.
 */
#include "event.h"
#include "kernel.h"
#include "session.h"

char _license[] SEC("license") = "Dual MIT/GPL";

/* 5.15 and later have the helper for tracing programs. Before that a session is
 * known by its processes' own cgroup, so it must have none below it. */
const volatile __u8 have_ancestor = 0;

/* Too big for the stack. Tracepoints run with preemption off. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exec);
} scratch SEC(".maps");

inline_always struct session *here(__u64 *id)
{
	*id = have_ancestor ? bpf_get_current_ancestor_cgroup_id(pen_level) : bpf_get_current_cgroup_id();
	return bpf_map_lookup_elem(&sessions, id);
}

/* After the child has been made and before it runs for the first time. The
 * parent is who called, not the one that CLONE_PARENT names. */
SEC("raw_tracepoint/sched_process_fork")
int pen_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *child = (void *)ctx->args[1];
	struct fork f = {0};
	struct session *s;
	int pid = 0, tgid = 0;
	__u64 id;

	s = here(&id);
	if (!s)
		return 0;
	read(pid, child->pid);
	read(tgid, child->tgid);
	if (pid != tgid)
		return 0; /* a thread */
	describe(&f.e, EVENT_FORK);
	f.tgid = tgid;
	read(f.start, child->start_boottime);
	read(f.exec, child->self_exec_id);
	submit(s, &f.e, sizeof(f));
	return 0;
}

#define fence(x) asm volatile("" : "+r"(x))

/*
 * path appends the parts of a file's path, the last one first, up to the
 * process's root. The file may be under several mounts: at the root of one it
 * goes on where that is mounted.
 */
inline_always __u32 path(struct exec *x, struct file *file, struct task_struct *task)
{
	struct dentry *dentry = NULL, *parent, *top, *root_dentry = NULL;
	struct vfsmount *mnt = NULL, *root_mnt = NULL;
	struct fs_struct *fs = NULL;
	struct mount *m, *up;
	const unsigned char *name;
	__u32 off = 0, done = 0;
	long n;

	read(dentry, file->f_path.dentry);
	read(mnt, file->f_path.mnt);
	read(fs, task->fs);
	read(root_dentry, fs->root.dentry);
	read(root_mnt, fs->root.mnt);
	for (int i = 0; i < 48; i++) {
		if (dentry == root_dentry && mnt == root_mnt) {
			done = 1;
			break;
		}
		top = parent = NULL;
		read(top, mnt->mnt_root);
		read(parent, dentry->d_parent);
		if (dentry == top || dentry == parent) {
			m = (void *)mnt - __builtin_preserve_field_info(((struct mount *)0)->mnt, 0);
			up = NULL;
			read(up, m->mnt_parent);
			if (dentry != top || up == m || !up) {
				done = 1; /* not mounted below the root: memfd and its like */
				break;
			}
			read(dentry, m->mnt_mountpoint);
			mnt = (void *)up + __builtin_preserve_field_info(((struct mount *)0)->mnt, 0);
			continue;
		}
		if (off > PATH_MOST - PART_MOST)
			break;
		name = NULL;
		read(name, dentry->d_name.name);
		fence(off);
		n = bpf_probe_read_kernel_str(&x->data[off & 2047], PART_MOST, name);
		if (n <= 0)
			break;
		off += n;
		dentry = parent;
	}
	if (!done)
		x->flags |= EXEC_PATH_CUT;
	return off;
}

SEC("raw_tracepoint/sched_process_exec")
int pen_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct linux_binprm *bprm = (void *)ctx->args[2];
	struct task_struct *task = (void *)ctx->args[0], *parent = NULL;
	struct super_block *sb = NULL;
	struct inode *inode = NULL;
	struct mm_struct *mm = NULL;
	struct file *file = NULL;
	const char *name = NULL;
	unsigned long from = 0, to = 0, ino = 0;
	unsigned int links = 1;
	__u32 zero = 0, off, before, want;
	struct session *s;
	struct exec *x;
	__u64 id;
	long n;

	s = here(&id);
	if (!s)
		return 0;
	x = bpf_map_lookup_elem(&scratch, &zero);
	if (!x)
		return 0;
	describe(&x->e, EVENT_EXEC);
	x->flags = 0;
	x->dev = 0;
	x->parent_tgid = 0;
	x->parent_start = 0;
	read(parent, task->real_parent);
	read(parent, parent->group_leader);
	read(x->parent_tgid, parent->tgid);
	read(x->parent_start, parent->start_boottime);

	read(file, bprm->file);
	read(inode, file->f_inode);
	read(ino, inode->i_ino);
	x->ino = ino;
	read(links, inode->i_nlink);
	if (links == 0)
		x->flags |= EXEC_UNLINKED;
	read(sb, inode->i_sb);
	read(x->dev, sb->s_dev);

	off = path(x, file, task);
	x->path_len = off;

	before = off;
	read(name, bprm->filename);
	fence(off);
	n = bpf_probe_read_kernel_str(&x->data[off & 2047], NAME_MOST, name);
	if (n > 0)
		off += n;
	x->name_len = off - before;

	before = off;
	read(mm, task->mm);
	read(from, mm->arg_start);
	read(to, mm->arg_end);
	want = ARGS_MOST;
	if (to - from < ARGS_MOST)
		want = to - from;
	else if (to - from > ARGS_MOST)
		x->flags |= EXEC_ARGS_CUT;
	fence(off);
	fence(want);
	want &= 1023;
	if (want > ARGS_MOST)
		want = ARGS_MOST;
	/* They were written a moment ago, so they are not paged out as a rule. */
	if (bpf_probe_read_user(&x->data[off & 2047], want, (void *)from))
		x->flags |= EXEC_ARGS_LOST;
	else
		off += want;
	x->args_len = off - before;

	fence(off);
	submit(s, &x->e, offsetof(struct exec, data) + (off & 4095));
	return 0;
}

SEC("raw_tracepoint/sched_process_exit")
int pen_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	struct signal_struct *signal = NULL;
	struct mm_struct *oom = NULL;
	struct exit x = {0};
	struct session *s;
	int live = 1, code = 0;
	__u64 id;

	s = here(&id);
	if (!s)
		return 0;
	read(signal, task->signal);
	read(live, signal->live.counter);
	if (live > 0)
		return 0; /* other threads go on */
	describe(&x.e, EVENT_EXIT);
	read(code, task->exit_code);
	x.code = code;
	read(oom, signal->oom_mm);
	if (oom)
		x.flags |= EXIT_OOM;
	submit(s, &x.e, sizeof(x));
	return 0;
}
