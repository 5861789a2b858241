// Package bossctl is the conversation between the privileged supervisor and one
// of its proxies: typed, bounded messages over a unix seqpacket socket that the
// proxy was born with (FileBoss).
//
// A proxy is started idle, under a user id of its own, and says OpReady when it
// has confined itself. It is assigned to one session, serves it, says OpClosed
// and ends; it is never used twice. What the caller tells the proxy (policy,
// secrets, certificates) goes over another socket (proxyctl), which the daemon
// hands on and never reads.
//
//	daemon                              proxy
//	      <---------------- ready       confined, waits
//	assign ---------------->            knows the session, floor, audit; takes the caller's configuration
//	      <---------------- guard       at most once, before admit: what it must reach beyond public addresses
//	guarded --------------->
//	      <---------------- deny        at most once, before admit: what the kernel shall refuse this pen
//	denied ---------------->
//	admit ----------------->            the pen is verified; its sockets are on AssignSockets
//	      <---------------- counts      at most once a second
//	limits ---------------->            whenever the pen has hit one
//	      <---------------- limited
//	end ------------------->            only when the caller is gone or the session is killed
//	      <---------------- closed      the last audit record is written; the proxy ends
//
// Its hazard is the proxy: it reads a pen's bytes and is taken to be hostile
// from OpAdmit on. So what it may ask for (OpGuard, which widens what it can
// reach, and OpDeny, which narrows what its pen can) it must ask before. Even then
// it asks for its own session only: a caller could have taken it over with his
// configuration, and a set of denied addresses that all sessions share would let
// him cut off other users. So the daemon need not know the policy that the ranges
// come from: what is not the administrator's harms who sent it. After OpAdmit it
// has three words left, each of fixed size, and none of them changes what the
// daemon does to anybody: numbers for penstock ps, and the head of its own audit
// file. A message that is unknown, too long, out of turn or brings a descriptor
// ends the session closed.
//
// Only supervisor/daemon and supervisor/proxyrole import it.
package bossctl
