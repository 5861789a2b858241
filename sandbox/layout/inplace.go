package layout

import (
	"slices"

	"github.com/penstock/penstock/sandbox"
)

// InPlace plans a pen of a tier without mounts, which can only allow and deny what the
// host has, where it has it. The system's own directories are the tier's to add; of the
// home there is what is granted and what version managers install. Nothing stands for
// what is missing: a plan has neither links nor files of its own, and no trust bundles.
func InPlace(in Input, host Host) (*Plan, error) {
	b := &builder{in: in, host: host, at: map[string]placed{}, plan: &Plan{}}
	home, m, ok := b.resolve(in.Home)
	if !ok || !m.IsDir() || home == "/" {
		return nil, refuse("set HOME to your home directory", "plan pen: %q is no home", in.Home)
	}
	b.plan.Home = home
	b.toolchains()
	if err := b.grants(); err != nil {
		return nil, err
	}
	for _, p := range []string{"/Applications", "/Library", "/System", "/Users", "/Volumes", "/private", "/private/etc", "/private/tmp", "/private/var"} {
		if b.plan.Dir == p {
			return nil, refuse("run penstock in the project's directory, or name it with --workdir", "use %s as work directory: it belongs to the system, or to everybody", p)
		}
	}
	b.searchPath()
	b.in.Hide = append(slices.Clone(b.in.Hide), b.appData()...)
	b.protectAll()
	b.hideAll()
	b.plan.Files = nil
	b.collect()
	b.plan.Mounts = slices.DeleteFunc(b.plan.Mounts, func(m sandbox.Mount) bool { return m.Kind == sandbox.Symlink })
	return b.plan, nil
}

// appData is where the programs of macOS keep what credentials are to others.
func (b *builder) appData() (out []string) {
	for _, name := range []string{
		"Accounts", "Calendars", "Containers", "Cookies", "Group Containers", "HTTPStorages", "Keychains", "Mail", "Messages", "Mobile Documents", "Safari",
		"Application Support/1Password", "Application Support/AddressBook", "Application Support/BraveSoftware", "Application Support/Chromium", "Application Support/com.apple.TCC",
		"Application Support/Code", "Application Support/Cursor", "Application Support/Firefox", "Application Support/Google", "Application Support/MobileSync", "Application Support/Slack",
	} {
		if p := b.plan.Home + "/Library/" + name; !slices.Contains(b.in.Read, p) && !slices.Contains(b.in.Write, p) {
			out = append(out, p)
		}
	}
	return out
}
