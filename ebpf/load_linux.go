package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	cilium "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/ebpf/internal/objects"
)

// where a program is attached.
type where int

const (
	toPens where = iota
	toProxies
	toTracepoint
	toLSM
)

// attachment is one program and its place. The program's name is its pin's.
type attachment struct {
	program string
	where   where
	attach  cilium.AttachType
	name    string // of the tracepoint
}

// attachments are all that Load attaches, in that order: the events of
// processes come first, so that no connection is of a process never heard of.
var attachments = []attachment{
	{objects.ProcessProgPenExit, toTracepoint, 0, "sched_process_exit"},
	{objects.ProcessProgPenExec, toTracepoint, 0, "sched_process_exec"},
	{objects.ProcessProgPenFork, toTracepoint, 0, "sched_process_fork"},
	{objects.PenProgPenConnected, toPens, cilium.AttachCGroupSockOps, ""},
	{objects.PenProgPenEgress, toPens, cilium.AttachCGroupInetEgress, ""},
	{objects.PenProgPenIngress, toPens, cilium.AttachCGroupInetIngress, ""},
	{objects.PenProgPenBind4, toPens, cilium.AttachCGroupInet4Bind, ""},
	{objects.PenProgPenBind6, toPens, cilium.AttachCGroupInet6Bind, ""},
	{objects.PenProgPenSendmsg4, toPens, cilium.AttachCGroupUDP4Sendmsg, ""},
	{objects.PenProgPenSendmsg6, toPens, cilium.AttachCGroupUDP6Sendmsg, ""},
	{objects.PenProgPenConnect4, toPens, cilium.AttachCGroupInet4Connect, ""},
	{objects.PenProgPenConnect6, toPens, cilium.AttachCGroupInet6Connect, ""},
	{objects.PenProgPenSockCreate, toPens, cilium.AttachCGroupInetSockCreate, ""},
	{objects.GuardProgGuardConnect4, toProxies, cilium.AttachCGroupInet4Connect, ""},
	{objects.GuardProgGuardConnect6, toProxies, cilium.AttachCGroupInet6Connect, ""},
	{objects.GuardProgGuardSendmsg4, toProxies, cilium.AttachCGroupUDP4Sendmsg, ""},
	{objects.GuardProgGuardSendmsg6, toProxies, cilium.AttachCGroupUDP6Sendmsg, ""},
	{objects.GuardProgGuardSockCreate, toProxies, cilium.AttachCGroupInetSockCreate, ""},
	{objects.LsmProgPenSocketCreate, toLSM, 0, ""},
	{objects.LsmProgPenBpf, toLSM, 0, ""},
}

// Programs are the loaded programs. Its methods may be called concurrently.
type Programs struct {
	opts     Options
	features []Feature

	pen, process, guard, lsm *cilium.Collection
	steer                    *cilium.CollectionSpec
	links                    []link.Link

	mu       sync.Mutex
	sessions map[uint64]*Session
	slots    map[uint64]*Slot
	free     []uint32    // indices in the array of rings
	ready    []*prepared // for the next sessions
	coming   int         // being prepared
	made     bool        // the directory of pins is ours
	closed   bool

	work sync.WaitGroup
}

// Load loads the programs, attaches them and pins the links. Nothing of it is
// left when it fails. What an earlier process left under PinDir must be swept
// before. Takes CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, and before kernel 5.11
// CAP_SYS_RESOURCE too.
func Load(o Options) (*Programs, error) {
	if o.RingBytes == 0 {
		o.RingBytes = 256 << 10
	}
	// Kernels before 5.11 charge maps to RLIMIT_MEMLOCK; on others this does
	// nothing. The loader's own package for it tries the kernel when it is
	// initialised, in whatever role of the binary that is: a descriptor that the
	// runtime's poller gets there is one that a role believes to be free.
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}); err != nil && !errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("load eBPF programs: raise the limit of locked memory: %w", err)
	}
	if o.Ready == 0 {
		o.Ready = 8
	}
	p := newPrograms(o)
	if err := p.start(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func newPrograms(o Options) *Programs {
	p := &Programs{opts: o, sessions: map[uint64]*Session{}, slots: map[uint64]*Slot{}}
	for i := range uint32(maxSessions) {
		p.free = append(p.free, maxSessions-1-i)
	}
	return p
}

// start is all of Load that has to be undone when it fails.
func (p *Programs) start() error {
	if err := p.load(); err != nil {
		return err
	}
	if err := os.Mkdir(p.opts.PinDir, 0o700); err != nil {
		return fmt.Errorf("pin eBPF links: %w", err)
	}
	p.made = true
	for _, a := range attachments {
		if err := p.attach(a); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.topUp()
	return nil
}

// load puts all programs into the kernel, where nothing runs them yet.
func (p *Programs) load() (err error) {
	retval := !p.opts.old && features.HaveProgramHelper(cilium.CGroupSockAddr, asm.FnSetRetval) == nil
	ancestor := !p.opts.old && features.HaveProgramHelper(cilium.RawTracepoint, asm.FnGetCurrentAncestorCgroupId) == nil
	penSpec, err := objects.LoadPen()
	if err != nil {
		return err
	}
	if err := set(penSpec, penVariables(p.opts, retval)); err != nil {
		return err
	}
	if p.pen, err = collection("socket hooks of pens", penSpec, nil); err != nil {
		return err
	}
	shared := func(names ...string) map[string]*cilium.Map {
		m := map[string]*cilium.Map{}
		for _, n := range names {
			m[n] = p.pen.Maps[n]
		}
		return m
	}
	processSpec, err := objects.LoadProcess()
	if err != nil {
		return err
	}
	if err := set(processSpec, map[string]any{objects.ProcessVarPenLevel: uint32(p.opts.PenLevel), objects.ProcessVarHaveAncestor: flag(ancestor)}); err != nil {
		return err
	}
	if p.process, err = collection("process events", processSpec, shared(objects.PenMapSessions, objects.PenMapRings)); err != nil {
		return err
	}
	guardSpec, err := objects.LoadGuard()
	if err != nil {
		return err
	}
	if err := set(guardSpec, map[string]any{objects.GuardVarSlotLevel: uint32(p.opts.SlotLevel), objects.GuardVarHaveSetRetval: flag(retval)}); err != nil {
		return err
	}
	if p.guard, err = collection("guard of proxies", guardSpec, nil); err != nil {
		return err
	}
	if p.steer, err = steerSpec(p.opts.Pen); err != nil {
		return err
	}
	first, err := p.prepare()
	if err != nil {
		return err
	}
	p.ready = append(p.ready, first)
	for _, name := range []string{FeaturePens, FeatureProcess, FeatureGuard, FeatureSteering} {
		p.features = append(p.features, Feature{Name: name, State: Available})
	}
	p.features = append(p.features,
		helperFeature(FeatureErrno, retval, "no bpf_set_retval: refused calls fail with EPERM"),
		helperFeature(FeatureAncestor, ancestor, "no bpf_get_current_ancestor_cgroup_id for tracepoints: processes in groups below a session's are not told of"))
	p.loadLSM(shared(objects.PenMapSessions, objects.PenMapRings))
	return nil
}

// loadLSM loads the optional programs; that they can't be loaded is no error.
func (p *Programs) loadLSM(shared map[string]*cilium.Map) {
	f := Feature{Name: FeatureLSM, State: Unavailable, Reason: "left out"}
	if !p.opts.WithoutLSM {
		spec, err := objects.LoadLsm()
		if err == nil {
			err = set(spec, map[string]any{objects.LsmVarPenLevel: uint32(p.opts.PenLevel)})
		}
		if err == nil {
			p.lsm, err = collection("security module", spec, shared)
		}
		if f.State = Available; err != nil {
			f.State = Unavailable
			f.Reason = reason(err)
		} else {
			f.Reason = ""
		}
	}
	p.features = append(p.features, f)
}

func (p *Programs) program(name string) *cilium.Program {
	for _, c := range []*cilium.Collection{p.pen, p.process, p.guard, p.lsm} {
		if c != nil && c.Programs[name] != nil {
			return c.Programs[name]
		}
	}
	return nil
}

// attach attaches one program and pins its link.
func (p *Programs) attach(a attachment) error {
	prog := p.program(a.program)
	if prog == nil {
		return nil // optional, not loaded
	}
	var l link.Link
	var err error
	group := func(dir *os.File) error {
		return control(dir, func(fd int) error {
			l, err = link.AttachRawLink(link.RawLinkOptions{Target: fd, Program: prog, Attach: a.attach})
			return err
		})
	}
	switch a.where {
	case toPens:
		err = group(p.opts.PensCgroup)
	case toProxies:
		err = group(p.opts.ProxiesCgroup)
	case toTracepoint:
		l, err = link.AttachRawTracepoint(link.RawTracepointOptions{Name: a.name, Program: prog})
	case toLSM:
		l, err = link.AttachLSM(link.LSMOptions{Program: prog})
	}
	if err != nil {
		return fmt.Errorf("attach eBPF program %s: %w", a.program, err)
	}
	p.links = append(p.links, l)
	if err := l.Pin(filepath.Join(p.opts.PinDir, a.program)); err != nil {
		return fmt.Errorf("pin eBPF link of %s: %w", a.program, err)
	}
	return nil
}

// Features says what Load found: the order of Probe.
func (p *Programs) Features() []Feature { return append([]Feature(nil), p.features...) }

// Detach takes every program off its place, steering too, as if somebody had
// done it from outside. It is for tests of what then still holds.
func (p *Programs) Detach() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	for _, s := range p.sessions {
		err = errors.Join(err, s.unsteer())
	}
	return errors.Join(err, p.unlink())
}

func (p *Programs) unlink() (err error) {
	for _, l := range p.links {
		err = errors.Join(err, l.Unpin(), l.Close())
	}
	p.links = nil
	return err
}

// Close detaches and unloads everything, with all sessions and slots. It may be
// called twice.
func (p *Programs) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.mu.Unlock()
	p.work.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	for _, s := range p.sessions {
		err = errors.Join(err, s.release())
		p.ready = append(p.ready, s.made)
	}
	p.sessions, p.slots = nil, nil
	// The array of rings goes as a whole: to empty it one by one takes 20 ms each.
	for _, m := range p.ready {
		err = errors.Join(err, m.steer.close(), m.ring.Close())
	}
	p.ready = nil
	err = errors.Join(err, p.unlink())
	for _, c := range []*cilium.Collection{p.pen, p.process, p.guard, p.lsm} {
		if c != nil {
			c.Close()
		}
	}
	if p.made {
		err = errors.Join(err, os.Remove(p.opts.PinDir))
	}
	return err
}

// collection loads a spec; names of maps in shared are taken from there.
func collection(what string, spec *cilium.CollectionSpec, shared map[string]*cilium.Map) (*cilium.Collection, error) {
	c, err := cilium.NewCollectionWithOptions(spec, cilium.CollectionOptions{MapReplacements: shared})
	if err != nil {
		return nil, &loadError{what, err}
	}
	return c, nil
}

// set writes the constants of a spec.
func set(spec *cilium.CollectionSpec, values map[string]any) error {
	for name, v := range values {
		s := spec.Variables[name]
		if s == nil {
			return fmt.Errorf("load eBPF programs: no variable %s", name)
		}
		if err := s.Set(v); err != nil {
			return fmt.Errorf("load eBPF programs: variable %s: %w", name, err)
		}
	}
	return nil
}

func penVariables(o Options, retval bool) map[string]any {
	return map[string]any{
		objects.PenVarPenLevel:      uint32(o.PenLevel),
		objects.PenVarOwn4:          word4(o.Pen.Own4),
		objects.PenVarOwn6:          o.Pen.Own6.As16(),
		objects.PenVarCapturePort:   o.Pen.CapturePort,
		objects.PenVarExplicitPort:  o.Pen.ExplicitPort,
		objects.PenVarDnsPort:       o.Pen.DNSPort,
		objects.PenVarHaveSetRetval: flag(retval),
	}
}

// word4 is an IPv4 address as a word in memory has it in network byte order.
func word4(a netip.Addr) uint32 {
	b := a.As4()
	return binary.NativeEndian.Uint32(b[:])
}

func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}
