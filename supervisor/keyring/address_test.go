package keyring

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestSocket(t *testing.T) {
	for _, c := range []struct{ address, runtimeDir, want string }{
		{"unix:path=/run/user/1000/bus", "/elsewhere", "/run/user/1000/bus"},
		{"unix:path=/tmp/a%20b%2c,guid=00", "", "/tmp/a b,"},
		{"unix:guid=00,abstract=/tmp/dbus-x", "", "@/tmp/dbus-x"},
		{"tcp:host=127.0.0.1,port=1;unix:path=/bus", "", "/bus"},
		{"", "/run/user/1000", "/run/user/1000/bus"},
		{"", "", ""},
		{"", "relative", ""},
		{"autolaunch:", "/run/user/1000", ""},
		{"unixexec:path=/bin/sh,argv1=-c,argv2=id", "/run/user/1000", ""},
		{"tcp:host=127.0.0.1,port=1", "/run/user/1000", ""},
		{"nonce-tcp:host=127.0.0.1,port=1,noncefile=/etc/passwd", "", ""},
		{"unix:path=relative", "", ""},
		{"unix:path=/a%00b", "", ""},
		{"unix:path=/a%zz", "", ""},
		{"unix:abstract=", "", ""},
		{"unix:dir=/tmp", "", ""},
		{"unix:", "", ""},
	} {
		got, err := Socket(c.address, c.runtimeDir)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q, %q: %q, %v; want %q", c.address, c.runtimeDir, got, err, c.want)
		}
	}
}

func FuzzSocket(f *testing.F) {
	f.Add("unix:path=/run/user/1000/bus,guid=0;tcp:host=a", "/run/user/1000")
	f.Add("unix:abstract=%2ftmp", "")
	f.Add("", "/run")
	f.Fuzz(func(t *testing.T, address, runtimeDir string) {
		s, err := Socket(address, runtimeDir)
		if err != nil {
			return
		}
		if !filepath.IsAbs(s) && (!strings.HasPrefix(s, "@") || s == "@") || address != "" && strings.ContainsRune(s, 0) {
			t.Errorf("%q, %q: %q", address, runtimeDir, s)
		}
	})
}
