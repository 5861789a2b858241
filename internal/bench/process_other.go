//go:build !linux

package main

import (
	"errors"
	"net"
)

var errLinux = errors.New("the benchmark needs Linux namespaces")

type bench struct {
	world *world
}

func enter() (bool, error)                    { return false, errLinux }
func start(string) (*bench, error)            { return nil, errLinux }
func (*bench) stop()                          {}
func (*bench) cpu(string) (float64, error)    { return 0, errLinux }
func answer() error                           { return errLinux }
func (*bench) memory(string) (float64, error) { return 0, errLinux }
func mostStreams(n int) int                   { return n }
func rivals() []row                           { return nil }
func connectTo(int) string                    { return "" }
func connect(net.Conn, string) error          { return errLinux }
func (*bench) rival(string) (func(), error)   { return nil, errLinux }
