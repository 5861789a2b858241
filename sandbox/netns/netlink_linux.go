package netns

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// batch is a run of netlink messages that go to the kernel in one write. The
// start of every session waits for this, and netlink answers synchronously, so
// there are two system calls for all links and routes and three for all rules,
// where a library that waits for each message makes some sixty.
type batch struct {
	buf   []byte
	steps []Step // by sequence number - 1
	start int    // offset of the message being written
}

// begin starts a message. Fixed headers and attributes are appended to b.buf.
func (b *batch) begin(step Step, typ uint16, flags uint16) {
	b.start = len(b.buf)
	b.steps = append(b.steps, step)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, 0) // length, by end
	b.buf = binary.NativeEndian.AppendUint16(b.buf, typ)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, flags|unix.NLM_F_REQUEST)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, uint32(len(b.steps)))
	b.buf = binary.NativeEndian.AppendUint32(b.buf, 0) // port id: the kernel fills it
}

func (b *batch) end() {
	b.buf = pad4(b.buf)
	binary.NativeEndian.PutUint32(b.buf[b.start:], uint32(len(b.buf)-b.start))
}

func pad4(p []byte) []byte {
	for len(p)%4 != 0 {
		p = append(p, 0)
	}
	return p
}

// attr appends a netlink attribute.
func (b *batch) attr(typ uint16, data []byte) {
	b.buf = binary.NativeEndian.AppendUint16(b.buf, uint16(unix.NLA_HDRLEN+len(data)))
	b.buf = binary.NativeEndian.AppendUint16(b.buf, typ)
	b.buf = pad4(append(b.buf, data...))
}

// nest appends an attribute whose content fill appends.
func (b *batch) nest(typ uint16, fill func()) {
	at := len(b.buf)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, 0)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, typ|unix.NLA_F_NESTED)
	fill()
	binary.NativeEndian.PutUint16(b.buf[at:], uint16(len(b.buf)-at))
}

func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
func be16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
func cstr(s string) []byte { return append([]byte(s), 0) }

// send writes the batch and collects the kernel's answers. Exactly the messages
// that carry NLM_F_ACK are acknowledged; a refused one is answered in any case.
// wait is the sequence number whose answer means that all is done.
func (b *batch) send(fd int, wait uint32) error {
	if err := unix.Sendto(fd, b.buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return &stepError{Step: b.steps[0], Err: err}
	}
	reply := make([]byte, 16<<10)
	for {
		// Netlink requests are handled inside sendto: an answer that is not
		// there now will never come.
		n, _, err := unix.Recvfrom(fd, reply, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &stepError{Step: b.steps[wait-1], Err: fmt.Errorf("read netlink answer: %w", err)}
		}
		for p := reply[:n]; len(p) >= unix.NLMSG_HDRLEN+4; {
			size := int(binary.NativeEndian.Uint32(p))
			if size < unix.NLMSG_HDRLEN || size > len(p) {
				break
			}
			typ, seq := binary.NativeEndian.Uint16(p[4:]), binary.NativeEndian.Uint32(p[8:])
			if typ == unix.NLMSG_ERROR && seq > 0 && int(seq) <= len(b.steps) {
				errno := int32(binary.NativeEndian.Uint32(p[unix.NLMSG_HDRLEN:]))
				if errno != 0 {
					return &stepError{Step: b.steps[seq-1], Err: unix.Errno(-errno)}
				}
				if seq == wait {
					return nil
				}
			}
			p = p[min(len(p), (size+3)&^3):]
		}
	}
}

func netlinkSocket(protocol int, step Step) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return -1, &stepError{Step: step, Err: err}
	}
	return fd, nil
}
