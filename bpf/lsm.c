// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where the kernel loads BPF LSM programs: the socket families that
 * cgroup/sock_create never sees, and bpf(2), refused a second time behind
 * seccomp. Nothing depends on it.
 */
#include "event.h"
#include "kernel.h"
#include "session.h"

char _license[] SEC("license") = "GPL";

enum { AF_UNIX = 1, AF_NETLINK = 16, EAFNOSUPPORT = 97 };

inline_always struct session *here(__u64 *id)
{
	*id = bpf_get_current_ancestor_cgroup_id(pen_level);
	return bpf_map_lookup_elem(&sessions, id);
}

/* int socket_create(int family, int type, int protocol, int kern), and the
 * verdict of the programs before this one. */
SEC("lsm/socket_create")
int pen_socket_create(__u64 *ctx)
{
	int family = ctx[0], kern = ctx[3], before = ctx[4];
	struct deny d = {0};
	struct session *s;
	__u64 id;

	if (before)
		return before;
	if (kern || family == AF_INET || family == AF_INET6 || family == AF_UNIX || family == AF_NETLINK)
		return 0;
	s = here(&id);
	if (!s)
		return 0;
	describe(&d.e, EVENT_DENY);
	d.why = DENY_SOCKET;
	d.family = family;
	d.type = ctx[1];
	d.protocol = ctx[2];
	count(&s->denied, 1);
	submit(s, &d.e, sizeof(d));
	return -EAFNOSUPPORT;
}

/* int bpf(int cmd, union bpf_attr *attr, unsigned int size) */
SEC("lsm/bpf")
int pen_bpf(__u64 *ctx)
{
	__u64 id;

	return here(&id) ? -EPERM : 0;
}
