package confine

// Access is what a PathRule grants below its path.
type Access uint8

// The values of Access. Read includes executing.
const (
	Read  Access = iota // read files, list directories, execute
	Write               // also everything else
	List                // list directories, nothing more
	Clear               // list directories, and remove empty ones
)

// PathRule grants access below one path. Landlock follows the path once, when
// the rule is made; the grant is on what was found, not on the name.
type PathRule struct {
	Path     string `json:"path"`
	Access   Access `json:"access,omitempty"`
	Optional bool   `json:"optional,omitempty"` // ignored when Path does not exist
}

// PenRules say what the pen may do beyond its seccomp filter, which bwrap
// installs. The zero value allows nothing of the file system.
type PenRules struct {
	Paths []PathRule `json:"paths,omitempty"`
	// Off leaves Landlock out: said by the supervisor when asked to, loudly.
	Off bool `json:"off,omitempty"`
}

// ProxyRules say what the proxy role may do beyond its descriptors and the
// network. The zero value allows nothing of the file system.
type ProxyRules struct {
	// ReadPaths may be read, with everything below. A path that does not exist
	// is ignored. Name the directory rather than a file that others replace.
	ReadPaths []string
}

// Applied says what was put on the process, for the session record.
type Applied struct {
	Landlock int  // ABI version, 0 if the kernel has none
	Seccomp  bool // a filter of ours
}
