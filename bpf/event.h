/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Records of the ring. Numbers are in host byte order, ports too; addresses are
 * 16 bytes, IPv4 as ::ffff:a.b.c.d. Package ebpf/events reads them: a change
 * here is a change there.
 */
#ifndef PENSTOCK_EVENT_H
#define PENSTOCK_EVENT_H

#include "kernel.h"

enum {
	EVENT_FLOW = 1,
	EVENT_FORK = 2,
	EVENT_EXEC = 3,
	EVENT_EXIT = 4,
	EVENT_DENY = 5,
};

/* struct event begins each record: who it was. */
struct event {
	__u32 kind;
	__u32 uid;
	__u64 time;   /* CLOCK_BOOTTIME, ns */
	__u64 lost;   /* of the session, before this one */
	__u64 cgroup; /* the process's own, which may be below the session's */
	__u32 tgid;
	__u32 tid;
	__u64 start; /* of the thread group, CLOCK_BOOTTIME, ns */
	__u64 exec;  /* task_struct.self_exec_id */
};

struct flow {
	struct event e;
	__u8 source[16];
	__u8 target[16];
	__u16 source_port;
	__u16 target_port;
	__u32 pad;
};

struct fork {
	struct event e; /* the parent */
	__u64 start;
	__u64 exec;
	__u32 tgid;
	__u32 pad;
};

enum {
	EXEC_PATH_CUT = 1,  /* the path's beginning is missing */
	EXEC_UNLINKED = 2,  /* the file has no name any more, or never had one */
	EXEC_ARGS_CUT = 4,
	EXEC_ARGS_LOST = 8, /* the arguments could not be read */
};

/* What of the executable's path, name and arguments is reported at most. */
#define PATH_MOST 1024
#define PART_MOST 256 /* NAME_MAX and its NUL */
#define NAME_MOST 256
#define ARGS_MOST 512

struct exec {
	struct event e;
	__u64 parent_start;
	__u64 ino;
	__u32 parent_tgid;
	__u32 dev; /* the kernel's dev_t: 12 bits major, 20 bits minor */
	__u32 flags;
	__u16 path_len; /* parts of the path, last one first, each ends in NUL */
	__u16 name_len; /* as given to execve, ends in NUL */
	__u16 args_len; /* each ends in NUL, unless cut */
	__u16 pad[3];
	__u8 data[4096]; /* path, name, args; more than is used, for the verifier's sake */
};

enum {
	EXIT_OOM = 1, /* the kernel chose it when memory ran out */
};

struct exit {
	struct event e;
	__u32 code; /* as wait(2) gives it */
	__u32 flags;
};

enum {
	DENY_ADDRESS = 1,  /* in the session's set */
	DENY_DATAGRAM = 2, /* sent to where nothing may be sent */
	DENY_SOCKET = 3,   /* kind of socket */
	DENY_BIND = 4,     /* a port of ours */
	DENY_PACKET = 5,   /* what came to egress without having passed the others */
};

_Static_assert(sizeof(struct event) == 56 && sizeof(struct flow) == 96 && sizeof(struct fork) == 80 && sizeof(struct exit) == 64,
	       "ebpf/events counts with these sizes");
_Static_assert(offsetof(struct exec, data) == 96, "ebpf/events counts with this place");

struct deny {
	struct event e;
	__u8 target[16];
	__u16 target_port;
	__u16 why;
	__u16 family;   /* DENY_SOCKET */
	__u16 type;     /* DENY_SOCKET */
	__u32 protocol; /* as in IP */
	__u32 pad;
};

_Static_assert(sizeof(struct deny) == 88, "ebpf/events counts with this size");

#endif
