/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the programs need of the kernel's interface, written down here and not
 * included from the system: the objects are then the same bytes on every
 * machine that has the pinned compiler, whatever headers are installed.
 *
 * Two kinds of structs. Those of the stable interface (include/uapi/linux/bpf.h)
 * are cut after the last field that is used. Those with CORE are the kernel's
 * own: only their fields' names count, the loader looks up the offsets in the
 * running kernel's BTF.
 */
#ifndef PENSTOCK_KERNEL_H
#define PENSTOCK_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;

#define SEC(name) __attribute__((section(name), used))
#define inline_always static inline __attribute__((always_inline))
#define CORE __attribute__((preserve_access_index))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]
#define NULL ((void *)0)
#define offsetof(type, field) __builtin_offsetof(type, field)
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define host16(x) __builtin_bswap16(x)
#define host32(x) __builtin_bswap32(x)
#else
#define host16(x) ((__u16)(x))
#define host32(x) ((__u32)(x))
#endif
#define net16(x) host16(x)
#define net32(x) host32(x)

enum {
	AF_INET = 2,
	AF_INET6 = 10,
	SOCK_STREAM = 1,
	SOCK_DGRAM = 2,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_MPTCP = 262,
	EPERM = 1,
	EACCES = 13,
};

/* Map types and flags. */
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_SOCKMAP = 15,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_F_NO_PREALLOC = 1,
	BPF_F_RDONLY_PROG = 1 << 7,
};

struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 mark;
	__u32 priority;
	__u32 src_ip4;
	__u32 src_ip6[4];
	__u32 src_port;
};

struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4;
	__u32 user_ip6[4];
	__u32 user_port; /* network byte order */
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 msg_src_ip4;
	__u32 msg_src_ip6[4];
	union {
		struct bpf_sock *sk;
		__u64 : 64;
	} __attribute__((aligned(8)));
};

struct bpf_sock_ops {
	__u32 op;
	__u32 args[4];
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port; /* network byte order, in the upper half on little endian */
	__u32 local_port;  /* host byte order */
	__u32 is_fullsock;
	__u32 tcp[22]; /* snd_cwnd to sk_txhash */
	__u64 bytes_received;
	__u64 bytes_acked;
	union {
		struct bpf_sock *sk;
		__u64 : 64;
	} __attribute__((aligned(8)));
};

_Static_assert(offsetof(struct bpf_sock_ops, sk) == 184, "struct bpf_sock_ops is not the kernel's");

enum { BPF_SOCK_OPS_TCP_CONNECT_CB = 3 };

struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol; /* network byte order */
	__u32 vlan_present;
	__u32 vlan_tci;
	__u32 vlan_proto;
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
	__u32 tc_index;
	__u32 cb[5];
	__u32 hash;
	__u32 tc_classid;
	__u32 data;
	__u32 data_end;
	__u32 napi_id;
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port; /* network byte order */
	__u32 local_port;  /* host byte order */
	__u32 data_meta;
	union {
		void *flow_keys;
		__u64 : 64;
	} __attribute__((aligned(8)));
	__u64 tstamp;
	__u32 wire_len;
	__u32 gso_segs;
	union {
		struct bpf_sock *sk;
		__u64 : 64;
	} __attribute__((aligned(8)));
};

_Static_assert(offsetof(struct __sk_buff, sk) == 168, "struct __sk_buff is not the kernel's");

struct bpf_sk_lookup {
	union {
		struct bpf_sock *sk;
		__u64 cookie;
	} __attribute__((aligned(8)));
	__u32 family;
	__u32 protocol;
	__u32 remote_ip4;
	__u32 remote_ip6[4];
	__u16 remote_port;
	__u16 : 16;
	__u32 local_ip4;
	__u32 local_ip6[4];
	__u32 local_port; /* host byte order */
	__u32 ingress_ifindex;
};

enum { SK_DROP, SK_PASS };

struct bpf_raw_tracepoint_args {
	__u64 args[0];
};

/* Helpers. The number is the interface. In brackets the release that has it
 * for every kind of program here that calls it. */
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static __u64 (*bpf_get_current_pid_tgid)(void) = (void *)14;                                                  /* 5.7 */
static __u64 (*bpf_get_current_uid_gid)(void) = (void *)15;
static long (*bpf_skb_load_bytes)(const void *skb, __u32 offset, void *to, __u32 len) = (void *)26;
static __u64 (*bpf_get_current_task)(void) = (void *)35;                                                      /* 5.10 */
static __u64 (*bpf_get_socket_cookie)(void *ctx) = (void *)46;
static __u64 (*bpf_get_current_cgroup_id)(void) = (void *)80;                                                 /* 5.7 */
static __u64 (*bpf_skb_ancestor_cgroup_id)(struct __sk_buff *skb, int level) = (void *)83;                    /* 5.7 */
static long (*bpf_sk_release)(void *sock) = (void *)86;
static long (*bpf_probe_read_user)(void *dst, __u32 size, const void *from) = (void *)112;
static long (*bpf_probe_read_kernel)(void *dst, __u32 size, const void *from) = (void *)113;                  /* 5.10 */
static long (*bpf_probe_read_kernel_str)(void *dst, __u32 size, const void *from) = (void *)115;
static __u64 (*bpf_get_current_ancestor_cgroup_id)(int level) = (void *)123;                                  /* 5.7; tracing 5.15 */
static long (*bpf_sk_assign)(void *ctx, void *sk, __u64 flags) = (void *)124;                                 /* 5.9 */
static __u64 (*bpf_ktime_get_boot_ns)(void) = (void *)125;                                                    /* 5.8 */
static long (*bpf_ringbuf_output)(void *ring, void *data, __u64 size, __u64 flags) = (void *)130;             /* 5.8 */
static __u64 (*bpf_ringbuf_query)(void *ring, __u64 flags) = (void *)134;                                     /* 5.8 */
static int (*bpf_set_retval)(int retval) = (void *)187;                                                       /* 5.18 */

enum {
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_RB_AVAIL_DATA = 0,
	BPF_RB_RING_SIZE = 1,
};

/* The kernel's own structs. */
struct inode;
struct dentry;

struct qstr {
	const unsigned char *name;
} CORE;

struct super_block {
	__u32 s_dev;
} CORE;

struct inode {
	unsigned long i_ino;
	struct super_block *i_sb;
	unsigned int i_nlink;
} CORE;

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
} CORE;

struct vfsmount {
	struct dentry *mnt_root;
} CORE;

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
} CORE;

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
} CORE;

struct file {
	struct path f_path;
	struct inode *f_inode;
} CORE;

struct fs_struct {
	struct path root;
} CORE;

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
} CORE;

struct signal_struct {
	struct {
		int counter;
	} CORE live; /* atomic_t */
	struct mm_struct *oom_mm;
} CORE;

struct task_struct {
	int pid;
	int tgid;
	int exit_code;
	__u64 start_boottime;
	__u64 self_exec_id; /* 64 bits wide since 5.7 */
	struct task_struct *group_leader;
	struct task_struct *real_parent;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct signal_struct *signal;
} CORE;

struct linux_binprm {
	struct file *file;
	const char *filename;
} CORE;

/* read copies a field, wherever this kernel has it. */
#define read(dst, src) bpf_probe_read_kernel(&(dst), sizeof(dst), &(src))

#endif
