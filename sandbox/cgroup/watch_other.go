//go:build !linux

package cgroup

type watcher struct{}
