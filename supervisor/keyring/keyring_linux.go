package keyring

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/policy"
)

// Read returns the secret of the one item that is meant, from the keyring on the bus at
// socket, see Socket. ok is false if there is no such item; several, one that is
// locked, and a bus of another user than uid are errors. ctx bounds all of it.
func Read(ctx context.Context, socket string, uid int, item policy.KeyringItem) (value []byte, ok bool, err error) {
	conn, err := dial(ctx, socket, uid)
	if err != nil {
		return nil, false, fmt.Errorf("connect to the session bus at %s: %w", text.Escape(socket), err)
	}
	defer conn.Close()
	s := service{ctx, conn}
	path, err := s.find(item)
	if err != nil || path == "" {
		return nil, false, plain(ctx, err)
	}
	value, err = s.secret(path)
	return value, err == nil, plain(ctx, err)
}

// dial connects and says hello. What is at the socket must be of the same user: an
// abstract name can be anybody's.
func dial(ctx context.Context, socket string, uid int) (*dbus.Conn, error) {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if t, ok := ctx.Deadline(); ok {
		c.SetDeadline(t) //nolint:errcheck // a unix socket has deadlines
	}
	peer, err := peerOf(c)
	if err == nil && int(peer.Uid) != uid {
		err = fmt.Errorf("it is of user %d, and this is %d", peer.Uid, uid)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	conn, err := dbus.NewConn(c, dbus.WithContext(ctx))
	if err != nil {
		c.Close()
		return nil, err
	}
	if err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(uid))}); err == nil {
		err = conn.Hello()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func peerOf(c *net.UnixConn) (cred *unix.Ucred, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	if cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); cerr != nil {
		return nil, cerr
	}
	return cred, err
}

// Names of the Secret Service.
const (
	busName    = "org.freedesktop.secrets"
	root       = dbus.ObjectPath("/org/freedesktop/secrets")
	ofService  = "org.freedesktop.Secret.Service"
	ofItem     = "org.freedesktop.Secret.Item"
	ofGroup    = "org.freedesktop.Secret.Collection"
	errIsLock  = "org.freedesktop.Secret.Error.IsLocked"
	errNobody  = "org.freedesktop.DBus.Error.ServiceUnknown"
	errNoOwner = "org.freedesktop.DBus.Error.NameHasNoOwner"
)

var (
	errLocked  = errors.New("the keyring is locked: unlock it, by your desktop's program for passwords or gnome-keyring-daemon --unlock")
	errSeveral = errors.New("several items of the keyring are meant: name more of the attributes of the one")
)

type service struct {
	ctx  context.Context
	conn *dbus.Conn
}

func (s *service) call(path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	return s.conn.Object(busName, path).CallWithContext(s.ctx, method, 0, args...)
}

// get reads a property into v.
func (s *service) get(path dbus.ObjectPath, of, name string, v any) error {
	var got dbus.Variant
	if err := s.call(path, "org.freedesktop.DBus.Properties.Get", of, name).Store(&got); err != nil {
		return err
	}
	return got.Store(v)
}

// find returns the item that is meant, "" if there is none.
func (s *service) find(item policy.KeyringItem) (dbus.ObjectPath, error) {
	var open, locked []dbus.ObjectPath
	var err error
	if item.Label != "" {
		open, locked, err = s.labelled(item.Label)
	} else {
		err = s.call(root, ofService+".SearchItems", item.Attributes).Store(&open, &locked)
	}
	switch {
	case err != nil:
		return "", err
	case item.Label == "" && len(open)+len(locked) > 1, len(open) > 1:
		return "", errSeveral
	case len(open) == 1:
		return open[0], nil
	case len(locked) > 0:
		return "", errLocked
	}
	return "", nil
}

// labelled returns the items with a label, and the collections that are locked: what
// labels they hold nobody says.
func (s *service) labelled(label string) (items, locked []dbus.ObjectPath, err error) {
	var collections []dbus.ObjectPath
	if err := s.get(root, ofService, "Collections", &collections); err != nil {
		return nil, nil, err
	}
	for _, c := range collections {
		var shut bool
		if err := s.get(c, ofGroup, "Locked", &shut); err != nil {
			return nil, nil, err
		}
		if shut {
			locked = append(locked, c)
			continue
		}
		var all []dbus.ObjectPath
		if err := s.get(c, ofGroup, "Items", &all); err != nil {
			return nil, nil, err
		}
		for _, p := range all {
			var has string
			if err := s.get(p, ofItem, "Label", &has); err != nil {
				return nil, nil, err
			}
			if has == label {
				items = append(items, p)
			}
		}
	}
	return items, locked, nil
}

// sealed is a secret as it crosses the bus: session, parameters, value, content type.
type sealed struct {
	Session     dbus.ObjectPath
	Parameters  []byte
	Value       []byte
	ContentType string
}

// secret reads an item's secret over an encrypted session, which ends with the
// connection.
func (s *service) secret(item dbus.ObjectPath) ([]byte, error) {
	ours, err := newExchange()
	if err != nil {
		return nil, err
	}
	var theirs dbus.Variant
	var session dbus.ObjectPath
	if err := s.call(root, ofService+".OpenSession", algorithm, dbus.MakeVariant(ours.public())).Store(&theirs, &session); err != nil {
		return nil, err
	}
	var half []byte
	if err := theirs.Store(&half); err != nil {
		return nil, err
	}
	key, err := ours.key(half)
	if err != nil {
		return nil, err
	}
	var answer sealed
	if err := s.call(item, ofItem+".GetSecret", session).Store(&answer); err != nil {
		return nil, err
	}
	return decrypt(key, answer.Parameters, answer.Value)
}

// plain says in plain words what the bus has answered.
func plain(ctx context.Context, err error) error {
	var of dbus.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return errors.New("the keyring has not answered in time")
	case !errors.As(err, &of):
		return err
	case of.Name == errIsLock:
		return errLocked
	case of.Name == errNobody || of.Name == errNoOwner || strings.HasPrefix(of.Name, "org.freedesktop.DBus.Error.Spawn."):
		return errors.New("nobody on the session bus is a keyring: start gnome-keyring, KWallet or KeePassXC with its Secret Service")
	}
	return errors.New("the keyring refuses it: " + text.Escape(of.Error()))
}
