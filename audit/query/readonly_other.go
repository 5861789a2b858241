//go:build !unix

package query

func isReadOnlyFS(error) bool { return false }
