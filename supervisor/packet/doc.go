// Package packet carries bounded messages with descriptors over a unix seqpacket
// socket. It knows nothing of what they mean: daemonctl and bossctl do.
//
// Stream carries them as frames over a stream socket, for systems without seqpacket and
// for messages that no packet holds.
//
// Its hazard is a hostile peer. A packet that is too long or brings too many
// descriptors is refused as a whole, and nothing of it stays open; a descriptor
// is never given to the runtime's poller, where a peer could wake this process
// at will, and never read. Only supervisor and its conversations import it.
package packet
