//go:build !linux

package query

func newWatch(string) watch { return poll{} }
