package tiers

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/world"
)

// fileOperation is something that a program does in the work directory. Each has a
// directory of its own with the same things in it, see fileGround.
type fileOperation struct {
	name   string
	python string
	// wasm are the words for testdata/wasm/tool.c; "" where WASI has no such operation.
	wasm string
	// refused are the tiers that refuse what the tier bwrap does: docs/tiers.md names each.
	refused string
	// inside is the tier in which what is made is there for the command only.
	inside string
	// differs is what else becomes of it in the tier microvm, which its documentation has:
	// how it ends there.
	differs string
}

var fileOperations = []fileOperation{
	{name: "nothing", python: "pass", wasm: "nothing"},
	{name: "edit in place", python: `f = open("file", "r+"); f.write("J")`, wasm: "overwrite file :J"},
	{name: "edit by another name", python: `open("new", "w").write("x"); os.replace("new", "run")`, wasm: "put new :x + rename new run"},
	{name: "write again", python: `open("file", "w").write("other")`, wasm: "put file :other"},
	{name: "write what is read-only", python: `open("closed", "r+")`, wasm: "overwrite closed :x"},
	{name: "create", python: `open("new", "x").write("new")`, wasm: "exclusive new :new"},
	{name: "create under a umask", python: `os.umask(0o077); open("new", "x"); os.mkdir("own")`},
	{name: "create without one", python: `os.umask(0); os.close(os.open("new", os.O_CREAT | os.O_WRONLY, 0o666)); os.mkdir("all", 0o777)`},
	{name: "create with a mode", python: `os.umask(0); os.close(os.open("new", os.O_CREAT | os.O_WRONLY, 0o751)); os.mkdir("sticky", 0o1777)`},
	{name: "create with set-user-id", python: `os.close(os.open("new", os.O_CREAT | os.O_WRONLY, 0o4755))`},
	{name: "create a directory with set-group-id", python: `os.mkdir("new", 0o2755)`},
	{name: "create what is there", python: `open("file", "x")`, wasm: "exclusive file :x"},
	{name: "create without a name", python: `f = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640); os.write(f, b"x"); call(libc.linkat(-100, f"/proc/self/fd/{f}".encode(), -100, b"new", 0x400))`, refused: "gvisor microvm"},
	{name: "create in a shut directory", python: `open("shut/new", "x")`, wasm: "put shut/new :x"},
	{name: "create in a group's directory", python: `open("group/new", "x")`},
	{name: "make a directory in a group's directory", python: `os.mkdir("group/sub")`, differs: "EPERM"},
	{name: "delete", python: `os.unlink("run")`, wasm: "unlink run"},
	{name: "delete one of two links", python: `os.unlink("file")`, wasm: "unlink file"},
	{name: "delete what is open", python: `f = open("run", "a"); os.unlink("run"); f.write("x"); f.flush(); open("size", "w").write(str(os.fstat(f.fileno()).st_size))`},
	{name: "delete a directory as a file", python: `os.unlink("dir")`, wasm: "unlink dir"},
	{name: "delete a link", python: `os.unlink("link")`, wasm: "unlink link"},
	{name: "rename", python: `os.rename("file", "moved")`, wasm: "rename file moved"},
	{name: "rename over", python: `os.rename("file", "run")`, wasm: "rename file run"},
	{name: "rename over the same file", python: `os.rename("file", "twin")`, wasm: "rename file twin"},
	{name: "rename into a directory", python: `os.rename("file", "dir/file")`, wasm: "rename file dir/file"},
	{name: "rename a file over a directory", python: `os.rename("file", "empty")`, wasm: "rename file empty"},
	{name: "rename what is open", python: `f = open("file", "a"); os.rename("file", "moved"); f.write("more")`},
	{name: "rename a directory", python: `os.rename("dir", "moved"); open("moved/inner", "a").write("x")`, wasm: "rename dir moved + append moved/inner :x"},
	{name: "rename a directory over an empty one", python: `os.rename("dir", "empty")`, wasm: "rename dir empty"},
	{name: "rename a directory over a full one", python: `os.rename("empty", "dir")`, wasm: "rename empty dir"},
	{name: "rename a directory into itself", python: `os.rename("dir", "dir/sub")`, wasm: "rename dir dir/sub"},
	{name: "rename a link", python: `os.rename("link", "moved")`, wasm: "rename link moved"},
	{name: "rename over nothing", python: `renameat2("file", "moved", 1)`, refused: "gvisor microvm"},
	{name: "rename over nothing, which is there", python: `renameat2("file", "run", 1)`},
	{name: "exchange", python: `renameat2("file", "run", 2)`, refused: "microvm"},
	{name: "chmod", python: `os.chmod("file", 0o751); os.chmod("run", 0o600); os.chmod("dir", 0o700)`},
	{name: "chmod by a descriptor", python: `f = open("file"); os.chmod(f.fileno(), 0o600)`},
	{name: "chmod to nothing", python: `os.chmod("file", 0)`},
	{name: "chmod of a link's file", python: `os.chmod("link", 0o600)`},
	{name: "chmod to set-user-id", python: `os.chmod("run", 0o4755)`},
	{name: "chmod to set-group-id by a descriptor", python: `f = open("run"); os.chmod(f.fileno(), 0o2755)`},
	{name: "chmod of a directory to a group's", python: `os.chmod("dir", 0o2775)`},
	{name: "chmod to sticky", python: `os.chmod("dir", 0o1777)`},
	{name: "chown to oneself", python: `os.chown("file", os.getuid(), os.getgid()); os.lchown("link", os.getuid(), -1)`},
	{name: "chown to another", python: `os.chown("file", 12345, -1)`},
	{name: "chgrp to another", python: `os.chown("file", -1, 12345)`},
	{name: "symlink", python: `os.symlink("file", "to")`, wasm: "symlink :file to"},
	{name: "symlink to a directory", python: `os.symlink("../at0/dir", "to"); os.stat("to/inner")`, wasm: "symlink :../at0/dir to"},
	{name: "symlink to nothing", python: `os.symlink("/nowhere/at/all", "away")`, wasm: "symlink :/nowhere/at/all away", refused: "wasm"},
	{name: "symlink over a file", python: `os.symlink("dir", "file")`, wasm: "symlink :dir file"},
	{name: "write through a link", python: `open("link", "a").write("x")`, wasm: "append link :x"},
	{name: "write through a link to nothing", python: `open("dangling", "w").write("made")`, wasm: "put dangling :made"},
	{name: "hard link", python: `os.link("file", "hard")`, wasm: "hardlink file hard"},
	{name: "hard link, and write", python: `os.link("file", "hard"); open("hard", "a").write("x")`},
	{name: "hard link to a link", python: `os.link("link", "hard", follow_symlinks=False)`},
	{name: "hard link to a directory", python: `os.link("dir", "hard")`, wasm: "hardlink dir hard"},
	{name: "append", python: `open("file", "a").write("more")`, wasm: "append file :more"},
	{name: "append from two sides", python: `a, b = (os.open("file", os.O_APPEND | os.O_WRONLY) for _ in "ab"); [os.write(f, c) for f, c in ((a, b"1"), (b, b"2"), (a, b"3"), (b, b"4"))]`},
	{name: "truncate", python: `os.truncate("file", 2)`, wasm: "truncate file :2"},
	{name: "truncate to more", python: `os.truncate("file", 100000)`, wasm: "truncate file :100000"},
	{name: "truncate what is open", python: `f = open("file", "r+"); f.truncate(1); f.seek(0, 2); f.write("x")`},
	{name: "make directories", python: `os.makedirs("a/b")`, wasm: "mkdir a + mkdir a/b"},
	{name: "remove a directory", python: `os.rmdir("empty")`, wasm: "rmdir empty"},
	{name: "remove a full directory", python: `os.rmdir("dir")`, wasm: "rmdir dir"},
	{name: "remove a file as a directory", python: `os.rmdir("file")`, wasm: "rmdir file"},
	{name: "remove a tree", python: `shutil.rmtree("dir")`, wasm: "unlink dir/inner + rmdir dir"},
	{name: "remove the directory one is in", python: `os.chdir("empty"); os.rmdir("../empty"); open("new", "w")`},
	{name: "set times", python: `os.utime("file", ns=(1234567890123456789, 1234567890123456789))`, wasm: "times file :1234567890", differs: "ok"},
	{name: "set a directory's times", python: `os.utime("dir", ns=(1234567890123456789, 1234567890123456789))`, wasm: "times dir :1234567890", differs: "ok"},
	{name: "set a link's times", python: `os.utime("link", (7, 7), follow_symlinks=False)`},
	{name: "set times by a descriptor", python: `f = open("file"); os.utime(f.fileno(), (7, 7))`},
	{name: "set times to now", python: `os.utime("file"); os.utime("dir")`},
	{name: "set an attribute", python: `os.setxattr("file", "user.penstock", b"value"); os.setxattr("dir", "user.penstock", b"of a directory")`},
	{name: "change an attribute", python: `os.setxattr("attributed", "user.penstock", os.getxattr("attributed", "user.penstock") + b" and more")`},
	{name: "remove an attribute", python: `os.removexattr("attributed", "user.penstock")`},
	{name: "set an attribute of the system's", python: `os.setxattr("file", "security.penstock", b"value")`},
	{name: "set a list of rights", python: `os.setxattr("file", "system.posix_acl_access", struct.pack("<I" + "HHI" * 5, 2, 1, 6, 2**32-1, 2, 6, os.getuid(), 4, 4, 2**32-1, 16, 6, 2**32-1, 32, 4, 2**32-1))`, refused: "gvisor microvm"},
	{name: "sparse", python: `f = open("sparse", "w"); f.truncate(8 << 20); f.seek(4 << 20); f.write("x")`},
	{name: "write behind the end", python: `f = open("file", "r+"); f.seek(1 << 20); f.write("x")`, wasm: "seek file :1048576"},
	{name: "allocate", python: `f = open("file", "r+"); os.posix_fallocate(f.fileno(), 0, 1 << 20)`},
	{name: "allocate behind the end", python: `fallocate("file", 1, 0, 1 << 20)`, refused: "gvisor microvm"},
	{name: "punch a hole", python: `fallocate("full", 3, 65536, 65536)`, refused: "gvisor microvm"},
	{name: "write by a mapping", python: `f = open("full", "r+"); m = mmap.mmap(f.fileno(), 0); m[100:104] = b"MMAP"`},
	{name: "write and be killed", python: `f = open("file", "ab", 0); f.write(b"last"); os.kill(os.getpid(), 9)`},
	{name: "copy in the kernel", python: `a = open("full", "rb"); b = open("copy", "wb"); os.copy_file_range(a.fileno(), b.fileno(), 200000)`},
	{name: "send in the kernel", python: `a = open("full", "rb"); b = open("copy", "wb"); os.sendfile(b.fileno(), a.fileno(), 0, 200000)`},
	{name: "make a fifo", python: `os.mkfifo("fifo", 0o640)`, inside: "gvisor", differs: "ENXIO"},
	{name: "listen at a path", python: `s = socket.socket(socket.AF_UNIX); s.bind("socket")`, inside: "gvisor", differs: "ENXIO"},
	{name: "make a file by mknod", python: `os.mknod("node", 0o100640)`},
	{name: "make a device", python: `os.mknod("device", 0o020666, os.makedev(1, 3))`},
	{name: "make a block device", python: `os.mknod("device", 0o060666, os.makedev(8, 0))`},
	{name: "odd names", python: `[open(n, "w") for n in (b"caf\xe9", b"new\nline", b" ", b"-rf", b"n" * 255)]`},
	{name: "a name too long", python: `open("n" * 256, "w")`, wasm: "put " + strings.Repeat("n", 256) + " :x"},
	{name: "many files", python: `[open(f"dir/{i}", "w").write(str(i)) for i in range(100)]; [os.unlink(f"dir/{i}") for i in range(0, 100, 2)]`},
	{name: "read what must not be", python: `os.chmod("file", 0); open("file")`},
	{name: "lock", python: `f = open("file", "a"); fcntl.flock(f, fcntl.LOCK_EX); f.write("locked")`},
	{name: "lock a part", python: `f = open("file", "a"); fcntl.lockf(f, fcntl.LOCK_EX, 1); f.write("locked")`},
}

// untouched is the operation that does nothing.
const untouched = 0

// fileGround makes what each operation finds, in the directories at0 and so on; times
// are long ago.
const fileGround = `
import os, sys
os.umask(0o022)
def put(name, content, mode=0o644):
    with open(name, "w") as f: f.write(content)
    os.chmod(name, mode)
for i in range(int(sys.argv[1])):
    os.mkdir(f"at{i}"); os.chdir(f"at{i}")
    put("file", "hello\n"); put("run", "#!/bin/sh\n", 0o755); put("closed", "closed", 0o444); put("full", "x" * 200000); put("attributed", "a")
    for d in "dir", "empty", "shut", "group": os.mkdir(d)
    put("dir/inner", "inner\n")
    os.symlink("file", "link"); os.symlink("made", "dangling"); os.link("file", "twin")
    os.setxattr("attributed", "user.penstock", b"kept")
    os.chmod("group", 0o2755)
    for n in os.listdir("."): os.utime(n, (981173106, 981173106), follow_symlinks=False)
    os.utime("dir/inner", (981173106, 981173106)); os.utime("dir", (981173106, 981173106)); os.chmod("shut", 0o555)
    os.chdir(".."); os.utime(f"at{i}", (981173106, 981173106))
`

// operate runs each directory's operation, in a process of its own, and says what came
// of it.
const operate = `
import ctypes, errno, fcntl, mmap, os, shutil, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(r):
    if r: raise OSError(ctypes.get_errno(), "")
def renameat2(a, b, flags): call(libc.renameat2(-100, a.encode(), -100, b.encode(), flags))
def fallocate(name, mode, at, n):
    f = open(name, "r+"); call(libc.fallocate(f.fileno(), mode, ctypes.c_long(at), ctypes.c_long(n)))
for i in range(1, len(sys.argv)):
    pid = os.fork()
    if not pid:
        os.chdir(f"at{i-1}")
        words = dict(globals())
        try: exec(sys.argv[i], words); said = "ok"
        except OSError as e: said = errno.errorcode.get(e.errno, str(e.errno))
        except BaseException as e: said = repr(e)
        words.clear()
        os.write(1, f"{i-1} {said}\n".encode()); os._exit(0)
    if os.waitpid(pid, 0)[1]: os.write(1, f"{i-1} killed\n".encode())
`

// What is done to files in the work directory is in every tier what it is in the tier
// bwrap, or refused with an error.
func TestTierFiles(t *testing.T) {
	code := module(t)
	gvisorPens(t, func(t *testing.T, p *world.Pen) {
		python := world.Tool(t, "python3")
		p.Opts.Env, p.Opts.Timeout = append(p.Opts.Env, world.Microvm(t, p.Home)...), 8*time.Minute
		begun := time.Now()
		said, left := map[string][]string{}, map[string][]string{}
		for _, tier := range []string{"bwrap", "gvisor", "microvm", "wasm"} {
			p.Flags = []string{"--sandbox", tier}
			p.Opts.Dir = filepath.Join(p.Home.Path, "project", tier)
			p.Home.Write(t, "project/"+tier+"/tool.wasm", string(code))
			if r := p.W.Run(p.Home, p.Opts, python, "-c", fileGround, fmt.Sprint(len(fileOperations))); r.Code != 0 {
				t.Fatal(r)
			}
			argv := []string{python, "-c", operate}
			if tier == "wasm" {
				argv = []string{"./tool.wasm", "operations"}
			}
			for _, o := range fileOperations {
				if tier == "wasm" {
					argv = append(argv, o.wasm)
				} else {
					argv = append(argv, o.python)
				}
			}
			r := p.Run(argv...)
			said[tier] = make([]string, len(fileOperations))
			for _, line := range world.Lines(r.Stdout) {
				number, what, _ := strings.Cut(line, " ")
				if i, err := strconv.Atoi(number); err == nil && i < len(fileOperations) {
					said[tier][i] += what
				}
			}
			if r.Code != 0 {
				t.Fatalf("%s: %s", tier, r)
			}
			for i := range fileOperations {
				left[tier] = append(left[tier], tree(t, filepath.Join(p.Opts.Dir, fmt.Sprintf("at%d", i)), begun))
			}
		}
		for i, o := range fileOperations {
			for tier := range said {
				if tier == "bwrap" || tier == "wasm" && o.wasm == "" {
					continue
				}
				was, is := said["bwrap"][i], said[tier][i]
				same := left[tier][i] == left["bwrap"][i]
				switch {
				case slices.Contains(strings.Fields(o.refused), tier):
					same = was == "ok" && is != "ok" && left[tier][i] == left[tier][untouched]
				case tier == "microvm" && o.differs != "":
					same = was == "ok" && is == o.differs && left[tier][i] != left["bwrap"][i]
				case tier == o.inside:
					same = was == "ok" && is == "ok" && left[tier][i] == left[tier][untouched]
				default:
					same = same && (was == "ok") == (is == "ok") && (was == "killed") == (is == "killed")
				}
				if !same || was == "" || is == "" {
					t.Errorf("%s: in bwrap %q, in %s %q\n%s\nand\n%s", o.name, was, tier, is, left["bwrap"][i], left[tier][i])
				}
			}
		}
	})
}
