package wasm

import (
	"io/fs"

	"github.com/tetratelabs/wazero"
	experimentalsys "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/experimental/sysfs"
)

// directory is a directory that a module may write. WASI has no modes, and wazero gives
// what is made to its user alone; here it has the modes of what any command of the
// session makes, by the session's umask.
type directory struct{ experimentalsys.FS }

func (d directory) OpenFile(path string, flag experimentalsys.Oflag, _ fs.FileMode) (experimentalsys.File, experimentalsys.Errno) {
	return d.FS.OpenFile(path, flag, 0o666)
}

func (d directory) Mkdir(path string, _ fs.FileMode) experimentalsys.Errno {
	return d.FS.Mkdir(path, 0o777)
}

// withDirectory adds a directory that the module may write, at its own path.
func withDirectory(files wazero.FSConfig, path string) wazero.FSConfig {
	return files.(sysfs.FSConfig).WithSysFSMount(directory{sysfs.DirFS(path)}, path)
}
