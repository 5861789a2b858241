package netns

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// CaptureListeners takes over Capture4 and Capture6. See OriginalDst for what
// to do with an accepted connection.
func (s *Sockets) CaptureListeners() ([]*net.TCPListener, error) {
	return listeners(&s.Capture4, &s.Capture6)
}

// ExplicitListeners takes over Explicit4 and Explicit6: HTTP proxy and SOCKS.
func (s *Sockets) ExplicitListeners() ([]*net.TCPListener, error) {
	return listeners(&s.Explicit4, &s.Explicit6)
}

// DNSListeners takes over DNSTCP4 and DNSTCP6.
func (s *Sockets) DNSListeners() ([]*net.TCPListener, error) {
	return listeners(&s.DNSTCP4, &s.DNSTCP6)
}

// DNSPacketConns takes over DNSUDP4 and DNSUDP6. Each datagram comes with its
// destination in a control message (IP_PKTINFO, IPV6_PKTINFO); an answer must
// carry it as its source.
func (s *Sockets) DNSPacketConns() ([]*net.UDPConn, error) {
	var out []*net.UDPConn
	for _, f := range []**os.File{&s.DNSUDP4, &s.DNSUDP6} {
		if *f == nil {
			continue
		}
		c, err := net.FilePacketConn(*f)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open the pen's DNS socket: %w", err), closeEach(out))
		}
		udp, ok := c.(*net.UDPConn)
		if !ok {
			return nil, errors.Join(errors.New("open the pen's DNS socket: not UDP"), c.Close(), closeEach(out))
		}
		out = append(out, udp)
		(*f).Close()
		*f = nil
	}
	return out, nil
}

func listeners(files ...**os.File) ([]*net.TCPListener, error) {
	var out []*net.TCPListener
	for _, f := range files {
		if *f == nil {
			continue
		}
		l, err := net.FileListener(*f)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open the pen's listener: %w", err), closeEach(out))
		}
		tcp, ok := l.(*net.TCPListener)
		if !ok {
			return nil, errors.Join(errors.New("open the pen's listener: not TCP"), l.Close(), closeEach(out))
		}
		out = append(out, tcp)
		(*f).Close()
		*f = nil
	}
	return out, nil
}

func closeEach[C interface{ Close() error }](list []C) error {
	var err error
	for _, c := range list {
		err = errors.Join(err, c.Close())
	}
	return err
}
