package hookctl

import (
	"context"
	"sync"

	"github.com/penstock/penstock/hooks/exec"
	"github.com/penstock/penstock/supervisor/packet"
)

// maxOpen bounds what a proxy asks for at once, over all hooks.
const maxOpen = 4096

// Launch starts a process of a hook, as soon as that may have one. Its In and Out are
// the ends that the proxy gets.
type Launch func(ctx context.Context, hook string) (*exec.Process, error)

// Server is the supervisor's side.
type Server struct {
	conn   *packet.Conn
	launch Launch
	stop   context.CancelFunc
	work   sync.WaitGroup

	mu   sync.Mutex
	open map[uint64]context.CancelFunc
}

// NewServer answers a proxy until Close.
func NewServer(conn *packet.Conn, launch Launch) *Server {
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{conn: conn, launch: launch, stop: stop, open: map[uint64]context.CancelFunc{}}
	s.work.Go(func() { s.read(ctx) })
	return s
}

// Close ends every process and the conversation, and waits for both. It may be called
// twice.
func (s *Server) Close() error {
	s.stop()
	err := s.conn.Close()
	s.work.Wait()
	return err
}

// read obeys the proxy until it is gone or says what makes no sense.
func (s *Server) read(ctx context.Context) {
	defer s.conn.Close()
	defer s.stop()
	for {
		b, files, err := s.conn.Recv()
		if err != nil {
			return
		}
		packet.CloseAll(files)
		m, err := Decode(b)
		if err != nil || !s.obey(ctx, m) {
			return
		}
	}
}

func (s *Server) obey(ctx context.Context, m *Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	end, there := s.open[m.ID]
	switch {
	case m.Op == OpStop:
		if there { // else it has just ended
			end()
		}
		return true
	case m.Op != OpStart || there || len(s.open) >= maxOpen:
		return false
	}
	ctx, cancel := context.WithCancel(ctx)
	s.open[m.ID] = cancel
	s.work.Go(func() {
		defer cancel()
		s.serve(ctx, m)
		s.mu.Lock()
		delete(s.open, m.ID)
		s.mu.Unlock()
	})
	return true
}

// serve starts one process and stays with it to its end.
func (s *Server) serve(ctx context.Context, m *Message) {
	p, err := s.launch(ctx, m.Hook)
	if err != nil {
		if ctx.Err() == nil {
			s.tell(&Message{Op: OpFailed, ID: m.ID, Error: clip(err.Error())})
		}
		return
	}
	b, err := (&Message{Op: OpStarted, ID: m.ID}).Encode()
	if err == nil {
		err = s.conn.Send(b, p.In, p.Out)
	}
	// With a copy here the process would not see the proxy's end.
	p.In.Close()
	p.Out.Close()
	if err != nil {
		p.Kill()
		<-p.Ended
		return
	}
	select {
	case code := <-p.Ended:
		s.tell(&Message{Op: OpEnded, ID: m.ID, Code: code})
	case <-ctx.Done():
		p.Kill()
		s.tell(&Message{Op: OpEnded, ID: m.ID, Code: <-p.Ended})
	}
}

func (s *Server) tell(m *Message) {
	b, err := m.Encode()
	if err == nil {
		err = s.conn.Send(b)
	}
	if err != nil {
		s.conn.Close() // a proxy that does not hear what became of its processes
	}
}

// clip bounds what is said of an error.
func clip(s string) string {
	const most = 512
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
