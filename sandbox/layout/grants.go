package layout

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/penstock/penstock/sandbox"
)

// forbidden says why a directory can't be granted; empty if it can.
func forbidden(p string) string {
	switch {
	case p == "/":
		return "it holds everything"
	case within(p, "/proc"), within(p, "/sys"), within(p, "/dev"):
		return "it is the kernel's"
	case within(p, "/run"), within(p, "/var/run"):
		return "it holds the sockets of the host's services"
	}
	return ""
}

// grants shows the work directory and what else the policy names.
func (b *builder) grants() error {
	if b.in.Work == "" {
		return refuse("give a work directory", "plan pen: no work directory")
	}
	real, err := b.grant(write, b.in.Work, true)
	if err != nil {
		return err
	}
	if !b.isDir(real) {
		return refuse("choose a directory", "use %s as work directory: it is not a directory", real)
	}
	if real == b.plan.Home || within(b.plan.Home, real) {
		b.warn("the work directory %s holds your whole home: all of it but the usual credentials can be read and changed", real)
	}
	for _, p := range []string{"/usr", "/etc", "/var", "/opt", "/home", "/boot", "/bin", "/lib"} {
		if real == p {
			return refuse("run penstock in the project's directory, or name it with --workdir",
				"use %s as work directory: it belongs to the system", real)
		}
	}
	b.plan.Dir = real
	for _, p := range b.in.Write {
		if _, err := b.grant(write, p, true); err != nil {
			return err
		}
	}
	for _, p := range b.in.Read {
		if _, err := b.grant(read, p, false); err != nil {
			return err
		}
	}
	return nil
}

// grant shows one path, and the link by which it was named.
func (b *builder) grant(r rank, p string, writable bool) (string, error) {
	if !path.IsAbs(p) {
		return "", refuse("give an absolute path", "grant %q: it is not absolute", p)
	}
	p = path.Clean(p)
	real, m, ok := b.resolve(p)
	if !ok {
		return "", refuse("create it, or take it out of the policy", "grant %s: it does not exist", p)
	}
	if why := forbidden(real); why != "" {
		return "", refuse("grant what is needed inside it", "grant %s: %s", p, why)
	}
	if m&(fs.ModeSocket|fs.ModeDevice|fs.ModeCharDevice) != 0 {
		return "", refuse("run the service in the pen, or reach it by network and rule", "grant %s: a socket or device is a way out of the pen", p)
	}
	b.bind(r, real, writable)
	if real != p && !b.visible(p) && !b.linked(p) {
		b.put(r, sandbox.Mount{Kind: sandbox.Symlink, Source: real, Target: p})
	}
	return real, nil
}

// credentials are the usual places of secrets, relative to the home. They stay
// hidden when a directory above them is granted; naming one itself grants it.
func credentials() []string {
	return []string{
		".ssh", ".gnupg", ".aws", ".azure", ".oci", ".config/gcloud", ".boto", ".s3cfg", ".config/rclone", ".config/doctl", ".config/hcloud",
		".config/gh", ".config/glab-cli", ".config/hub", ".git-credentials", ".config/git/credentials", ".netrc", "_netrc", ".subversion/auth",
		".docker", ".config/containers", ".local/share/containers", ".kube", ".config/helm", ".minikube", ".terraform.d", ".terraformrc", ".vault-token", ".fly",
		".npmrc", ".yarnrc", ".yarnrc.yml", ".pypirc", ".config/pip", ".pip", ".cargo/credentials", ".cargo/credentials.toml", ".gem/credentials",
		".m2/settings.xml", ".m2/settings-security.xml", ".gradle/gradle.properties", ".config/composer/auth.json", ".composer/auth.json", ".nuget/NuGet/NuGet.Config",
		".pgpass", ".my.cnf", ".mylogin.cnf", ".dbeaver", ".snowsql", ".databrickscfg", ".config/snowflake",
		".password-store", ".local/share/keyrings", ".local/share/kwalletd", ".config/op", ".config/1Password", ".config/Bitwarden", ".config/keepassxc", ".config/sops", ".age",
		".mozilla", ".thunderbird", ".config/google-chrome", ".config/chromium", ".config/BraveSoftware", ".config/microsoft-edge", ".config/Slack", ".config/discord", ".config/Signal",
		".bash_history", ".zsh_history", ".python_history", ".node_repl_history", ".psql_history", ".mysql_history", ".local/share/fish",
		".config/penstock", ".local/state/penstock", ".local/share/penstock", ".cache/penstock",
		".claude/.credentials.json", ".codex/auth.json", ".gemini/oauth_creds.json", ".local/share/opencode/auth.json", ".config/github-copilot",
		".Xauthority", ".ICEauthority", ".config/systemd", ".local/share/systemd", ".vnc",
	}
}

// hideAll covers what must not be seen although something above it is granted.
func (b *builder) hideAll() {
	named := map[string]bool{}
	for _, list := range [][]string{b.in.Read, b.in.Write} {
		for _, p := range list {
			named[path.Clean(p)] = true
		}
	}
	for _, c := range credentials() {
		p := path.Join(b.plan.Home, c)
		if named[p] {
			b.warn("%s is granted by name: the pen sees what is in it", p)
			continue
		}
		b.watch(p)
		b.conceal(p)
	}
	for _, p := range b.in.Hide {
		b.watch(path.Clean(p))
		b.conceal(path.Clean(p))
	}
	// A socket's path crosses network namespaces: whatever service listens on it
	// would be an uplink.
	for _, p := range b.host.Sockets() {
		if path.IsAbs(p) && b.visible(p) {
			b.conceal(p)
		}
	}
}

// watch has it told who opens p, which may not be there.
func (b *builder) watch(p string) {
	if w := (sandbox.Watched{Path: p}); !slices.Contains(b.plan.Watched, w) {
		b.plan.Watched = append(b.plan.Watched, w)
	}
}

// conceal covers p, and what it leads to if it is a link.
func (b *builder) conceal(p string) {
	real, m, ok := b.resolve(p)
	if !ok || real == "/" || real == b.plan.Dir {
		return
	}
	if under, ok := b.cover(real); ok && under.rank == hide {
		return
	}
	b.blank(real, m)
}

// files makes what exists in the pen only.
func (b *builder) files() {
	host := b.in.Hostname
	if host == "" {
		host = "pen"
	}
	servers := b.in.Nameservers
	if len(servers) == 0 {
		servers = []string{"127.0.0.1"}
	}
	var resolv strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&resolv, "nameserver %s\n", s)
	}
	user := b.in.User
	if user == "" || strings.ContainsAny(user, ":\n") {
		user = "user"
	}
	passwd := "root:x:0:0:root:/root:/bin/sh\n"
	group := "root:x:0:\n"
	if b.in.UID != 0 {
		passwd += fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh\n", user, b.in.UID, b.in.GID, b.plan.Home)
	} else {
		passwd = fmt.Sprintf("root:x:0:0:root:%s:/bin/sh\n", b.plan.Home)
	}
	if b.in.GID != 0 {
		group += fmt.Sprintf("%s:x:%d:\n", user, b.in.GID)
	}
	passwd += "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
	group += "nogroup:x:65534:\n"
	if text, err := b.host.ReadFile("/etc/nsswitch.conf"); err != nil || !plainHosts(string(text)) {
		// Files and our resolver only: no daemon, mDNS or directory of the host.
		b.file("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\nethers: files\nrpc: files\n")
	}
	for _, f := range []struct{ target, content string }{
		{"/etc/resolv.conf", resolv.String()},
		{"/etc/hosts", "127.0.0.1 localhost " + host + "\n::1 localhost ip6-localhost ip6-loopback\n"},
		{"/etc/passwd", passwd},
		{"/etc/group", group},
	} {
		b.file(f.target, f.content)
	}
}

// file places content at target, or where the links of the host lead to from
// there: /etc/resolv.conf is often a link into /run.
func (b *builder) file(target, content string) {
	place, found := b.follow(target)
	if !found {
		if m, ok := b.cover(place); ok && m.Kind == sandbox.Bind {
			// Nothing can be mounted where the host has nothing. Without these
			// files the C library takes what we would have written.
			return
		}
	}
	b.plan.Files = append(b.plan.Files, sandbox.File{Target: place, Content: []byte(content)})
}

// follow resolves target as the pen sees it and says whether something is there.
func (b *builder) follow(target string) (string, bool) {
	for range 40 {
		m, err := b.host.Lstat(target)
		if !b.visible(target) || err != nil {
			return target, false
		}
		if m&fs.ModeSymlink == 0 {
			return target, true
		}
		text, err := b.host.Readlink(target)
		if err != nil {
			return target, false
		}
		if !path.IsAbs(text) {
			text = path.Join(path.Dir(target), text)
		}
		target = path.Clean(text)
		if within(target, "/var/run") {
			target = "/run" + strings.TrimPrefix(target, "/var/run")
		}
	}
	return target, false
}

// plainHosts says whether an nsswitch.conf looks names up in files and DNS alone.
func plainHosts(text string) bool {
	for _, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) > 0 && fields[0] == "hosts:" {
			return len(fields) == 3 && fields[1] == "files" && fields[2] == "dns"
		}
	}
	return false
}
