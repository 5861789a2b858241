package layout

import (
	"io/fs"
	"path"
	"strings"

	"github.com/penstock/penstock/sandbox"
)

// systemMounts shows the operating system read-only and puts memory where
// programs expect to write. What is not named is not there: /sys, /srv, /mnt,
// /media, /var and the host's /run with its sockets.
func (b *builder) systemMounts() {
	for _, p := range append(systemDirs(), "/etc") {
		m, err := b.host.Lstat(p)
		switch {
		case err != nil:
		case m&fs.ModeSymlink != 0:
			// A merged /usr: /bin says usr/bin.
			if text, err := b.host.Readlink(p); err == nil {
				b.put(system, sandbox.Mount{Kind: sandbox.Symlink, Source: text, Target: p})
			}
		case m.IsDir():
			b.bind(system, p, false)
		}
	}
	for _, t := range []struct {
		target string
		mode   uint32
		size   int64
	}{
		{"/tmp", 0o1777, b.in.TmpSize},
		{"/var/tmp", 0o1777, b.in.TmpSize},
		{"/run", 0o755, 64 << 20},
	} {
		b.put(system, sandbox.Mount{Kind: sandbox.Tmpfs, Target: t.target, Write: true, Mode: t.mode, Size: t.size})
	}
	b.put(system, sandbox.Mount{Kind: sandbox.Symlink, Source: "../run", Target: "/var/run"})
	b.etc()
}

// etc hides what in /etc is not for everybody but for the caller: credentials
// of the machine, if the caller is root or in a group that may read them.
func (b *builder) etc() {
	if !b.visible("/etc") {
		return
	}
	for _, dir := range []string{"/etc", "/etc/ssh", "/etc/ssl", "/etc/NetworkManager", "/etc/apt", "/etc/apt/auth.conf.d", "/etc/security"} {
		if _, covered := b.at[dir]; covered && dir != "/etc" {
			continue
		}
		names, err := b.host.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, n := range names {
			p := dir + "/" + n
			m, err := b.host.Lstat(p)
			if err == nil && m&fs.ModeSymlink == 0 && b.host.Private(p) {
				b.blank(p, m)
			}
		}
	}
	for _, p := range []string{"/etc/penstock", "/etc/docker", "/etc/kubernetes", "/etc/rancher", "/etc/wireguard", "/etc/openvpn", "/etc/letsencrypt"} {
		if m, err := b.host.Lstat(p); err == nil && m&fs.ModeSymlink == 0 {
			b.blank(p, m)
		}
	}
}

// blank covers an existing object that is visible.
func (b *builder) blank(p string, m fs.FileMode) {
	if !b.visible(p) {
		return
	}
	kind := sandbox.Blank
	if m.IsDir() {
		kind = sandbox.BlankDir
	}
	b.put(hide, sandbox.Mount{Kind: kind, Target: p})
}

// home puts an empty home into memory.
func (b *builder) home() {
	home := path.Clean("/" + b.in.Home)
	// Service users have / or a directory that isn't there as home.
	if real, m, ok := b.resolve(home); !ok || !m.IsDir() || real == "/" || within("/usr", real) || within("/etc", real) || within("/var", real) || strings.HasPrefix(real, "/proc") {
		home = "/home/pen"
	} else {
		if real != home {
			b.put(system, sandbox.Mount{Kind: sandbox.Symlink, Source: real, Target: home})
		}
		home = real
	}
	b.plan.Home = home
	b.put(system, sandbox.Mount{Kind: sandbox.Tmpfs, Target: home, Write: true, Mode: 0o700, Size: b.in.TmpSize})
}

// toolchainDirs are what version managers and agents install below the home,
// without credentials. Caches that tools fill (~/go/pkg/mod, ~/.cargo/registry,
// ~/.cache) are not among them: read-only they would only fail.
func toolchainDirs() []string {
	return []string{
		".nvm", ".volta", ".fnm", ".n", ".local/share/fnm", ".local/share/pnpm", ".npm-global", ".bun/bin", ".bun/install/global", ".deno/bin",
		".pyenv", ".local/share/uv", ".local/share/pipx", ".local/pipx", ".rye", ".conda", "miniconda3", "anaconda3",
		".rbenv", ".rvm", ".asdf", ".local/share/mise", ".local/share/rtx", ".sdkman", ".jenv", ".jdks", ".jabba",
		".cargo/bin", ".rustup", "go/bin", "sdk", ".goenv", ".ghcup", ".dotnet", ".juliaup", ".nix-profile", ".local/state/nix",
		".local/bin", ".local/lib", ".local/share/claude", ".opencode/bin", ".claude/local", "bin",
	}
}

func (b *builder) toolchains() {
	for _, d := range toolchainDirs() {
		p := path.Join(b.plan.Home, d)
		m, err := b.host.Lstat(p)
		switch {
		case err != nil:
		case m.IsDir():
			b.bind(toolchain, p, false)
		case m&fs.ModeSymlink != 0:
			if text, err := b.host.Readlink(p); err == nil {
				b.put(toolchain, sandbox.Mount{Kind: sandbox.Symlink, Source: text, Target: p})
			}
		}
	}
}

// searchPath makes the caller's PATH work: directories that nothing shows yet
// are bound read-only, with the siblings that programs expect beside bin.
func (b *builder) searchPath() {
	dirs := append([]string(nil), b.in.Path...)
	for _, p := range b.in.Programs {
		dirs = append(dirs, path.Dir(p))
		if real, _, ok := b.resolve(p); ok {
			b.programDir(path.Dir(real))
		}
	}
	seen := map[string]bool{}
	for i, d := range dirs {
		if !path.IsAbs(d) {
			continue // relative to wherever the tool stands: not for a pen
		}
		d = path.Clean(d)
		if seen[d] {
			continue
		}
		seen[d] = true
		real, m, ok := b.resolve(d)
		if !ok || !m.IsDir() || !b.programDir(real) {
			continue
		}
		if real != d && !b.visible(d) && !b.linked(d) {
			b.put(toolchain, sandbox.Mount{Kind: sandbox.Symlink, Source: real, Target: d})
		}
		if i < len(b.in.Path) {
			b.plan.Path = append(b.plan.Path, d)
		}
	}
}

// linked says whether the way to p leads over a link that the pen has.
func (b *builder) linked(p string) bool {
	for ; p != "/"; p = path.Dir(p) {
		if m, ok := b.at[p]; ok && m.Kind == sandbox.Symlink {
			return true
		}
	}
	return false
}

// programDir shows a directory of programs; false if it stays hidden.
func (b *builder) programDir(dir string) bool {
	if b.visible(dir) {
		return true
	}
	if dir == "/" || dir == b.plan.Home || within(b.plan.Home, dir) || forbidden(dir) != "" {
		return false
	}
	for _, t := range []string{"/tmp", "/var/tmp"} {
		// Where everybody writes, nothing is executed by name; a grant shows it.
		if dir == t {
			return false
		}
	}
	parent := path.Dir(dir)
	base := path.Base(dir)
	// Go is whole or not at all: it needs go.env, src and pkg/tool beside bin.
	if base == "bin" && !within(b.plan.Home, parent) && forbidden(parent) == "" &&
		b.isDir(path.Join(parent, "pkg/tool")) && b.isDir(path.Join(parent, "src/runtime")) {
		b.bind(toolchain, parent, false)
		return true
	}
	b.bind(toolchain, dir, false)
	if (base == "bin" || base == "sbin" || base == "shims") && parent != "/" && parent != b.plan.Home {
		for _, sibling := range []string{"lib", "lib64", "libexec", "share", "Cellar", "opt", "node_modules", "versions"} {
			if p := path.Join(parent, sibling); b.isDir(p) && !b.visible(p) {
				b.bind(toolchain, p, false)
			}
		}
	}
	return true
}

// trust puts the bundle over the places where distributions keep theirs.
func (b *builder) trust() {
	over := func(source string, places []string) {
		for _, p := range places {
			real, m, ok := b.resolve(p)
			if ok && m.IsRegular() && b.visible(real) {
				b.put(shape, sandbox.Mount{Source: source, Target: real})
			}
		}
	}
	if b.in.Bundle != "" {
		b.put(shape, sandbox.Mount{Source: b.in.Bundle, Target: BundlePath})
		over(b.in.Bundle, []string{
			"/etc/ssl/certs/ca-certificates.crt",                // Debian, Arch, Alpine
			"/etc/ssl/cert.pem",                                 // Alpine, macOS habits
			"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora
			"/etc/pki/tls/cert.pem",                             // Fedora
			"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora
			"/etc/ssl/ca-bundle.pem",                            // SUSE
			"/usr/local/share/certs/ca-root-nss.crt",
		})
	}
	if b.in.TrustStore != "" {
		b.put(shape, sandbox.Mount{Source: b.in.TrustStore, Target: TrustStorePath})
		over(b.in.TrustStore, []string{"/etc/ssl/certs/java/cacerts", "/etc/pki/ca-trust/extracted/java/cacerts", "/etc/pki/java/cacerts"})
	}
}
