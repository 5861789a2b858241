/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What is kept of each session, and how an event gets into its ring.
 *
 * A session is the cgroup at one fixed level below the root: the programs are
 * attached once, above all sessions, and look up where they are.
 */
#ifndef PENSTOCK_SESSION_H
#define PENSTOCK_SESSION_H

#include "event.h"
#include "kernel.h"

#define MAX_SESSIONS 4096

/* Counters, and where the session's events go. */
struct session {
	__u64 ring; /* index in rings, written once */
	__u64 up_bytes;
	__u64 up_packets;
	__u64 down_bytes;
	__u64 down_packets;
	__u64 flows;
	__u64 denied;
	__u64 lost;  /* events that did not fit and that the process tree needs */
	__u64 muted; /* refusals that were counted but not reported */
};

/* Keys are cgroup ids. Only the daemon writes keys. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SESSIONS);
	__type(key, __u64);
	__type(value, struct session);
} sessions SEC(".maps");

struct ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18); /* of the inner maps, the loader says how much */
};

/* An array and not a hash by session: to put a map into a map, the daemon waits
 * until no program uses the old one, some 20 ms. So rings are put here ahead. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_SESSIONS);
	__type(key, __u32);
	__array(values, struct ring);
} rings SEC(".maps");

/* The level of a session's cgroup; the root of the hierarchy is level 0. */
const volatile __u32 pen_level = 0;

inline_always void count(__u64 *n, __u64 by)
{
	__sync_fetch_and_add(n, by);
}

/*
 * submit puts an event into the session's ring, or counts that it could not.
 *
 * Nobody is woken as long as the ring is less than a quarter full: who asks for
 * a connection drains the ring first, so no event waits for a wake-up, and a
 * process that forks costs the proxy no context switch. Refusals do wake, since
 * nobody asks for them; from half a ring on they are only counted, so that a
 * tool that provokes them by the million can't push out what tells who it is.
 * So do ends by a signal: they are recorded when they happen.
 */
inline_always void submit(struct session *s, struct event *e, __u32 size)
{
	__u64 flags = BPF_RB_NO_WAKEUP, used, total;
	__u32 index = s->ring;
	void *ring = bpf_map_lookup_elem(&rings, &index);

	if (!ring)
		return;
	used = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA);
	total = bpf_ringbuf_query(ring, BPF_RB_RING_SIZE);
	if (e->kind == EVENT_DENY) {
		if (used > total / 2) {
			count(&s->muted, 1);
			return;
		}
		flags = BPF_RB_FORCE_WAKEUP;
	} else if (used > total / 4 || (e->kind == EVENT_EXIT && ((struct exit *)e)->code & 0x7f)) {
		flags = BPF_RB_FORCE_WAKEUP;
	}
	e->lost = s->lost;
	if (bpf_ringbuf_output(ring, e, size, flags))
		count(&s->lost, 1);
}

/* describe fills in who the current process is. */
inline_always void describe(struct event *e, __u32 kind)
{
	__u64 ids = bpf_get_current_pid_tgid();
	struct task_struct *task = (void *)bpf_get_current_task(), *leader = NULL;

	e->kind = kind;
	e->uid = bpf_get_current_uid_gid();
	e->time = bpf_ktime_get_boot_ns();
	e->cgroup = bpf_get_current_cgroup_id();
	e->tgid = ids >> 32;
	e->tid = ids;
	read(leader, task->group_leader);
	read(e->start, leader->start_boottime);
	/* The number of execve calls so far: tells whether an event of one was lost. */
	read(e->exec, task->self_exec_id);
}

#endif
