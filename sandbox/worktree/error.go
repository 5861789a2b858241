package worktree

import "github.com/penstock/penstock/sandbox/shelf"

func refuse(fix, format string, args ...any) error { return shelf.Refuse(fix, format, args...) }
