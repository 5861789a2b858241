package darwin

import (
	"path"
)

// ProxyProfile is the profile of the proxy role: it may use the network, and what the
// system does for programs that do (names, certificates), but not write files, read
// those of users, start programs or signal others. self is the program's path and home
// the user's, both without links.
//
// Unlike a pen's it names what is denied: what the system's resolver and its check of
// certificates need changes from one version of macOS to the next. What it is written
// for is what a proxy in a tool's hands would want.
func ProxyProfile(self, home string) (string, error) {
	for _, p := range []string{self, home} {
		if !path.IsAbs(p) || path.Clean(p) != p {
			return "", refuse("start it by its absolute path", "%q is no path for the proxy's profile", p)
		}
		if _, err := quote(p); err != nil {
			return "", refuse("rename it", "%w", err)
		}
	}
	private := []string{subpath("/Users"), subpath("/Volumes"), subpath("/private/var/root"), subpath("/System/Volumes/Data/Users")}
	if home != "/" && !within(home, "/Users") {
		private = append(private, subpath(home))
	}
	return renderDefault("allow", []rule{
		{deny: true, ops: []string{"process-fork", "process-exec*"}},
		{deny: true, ops: []string{"signal"}},
		{ops: []string{"signal"}, filters: []string{"(target same-sandbox)"}},
		{deny: true, ops: []string{"file-write*"}},
		{deny: true, ops: []string{"file-read*"}, filters: private},
		// sandbox-exec becomes it under this profile, and the loader reads it.
		{ops: []string{"process-exec*", "file-read*"}, filters: []string{literal(self)}},
	}), nil
}
