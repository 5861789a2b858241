package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/netproxy/ca"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/supervisor/config"
)

// files looks at what Penstock keeps on this machine. It creates nothing but a
// file that it removes at once.
func (x *examination) files() {
	x.policies()
	x.authority()
	x.auditDir()
}

// policies loads what a run in the working directory would load.
func (x *examination) policies() {
	lo := config.LoadOptions(&config.Options{}, x.Host, x.Host.Dir)
	p, err := policy.Load(lo)
	if err != nil {
		x.bad(Fail, "files", "policy", err, "penstock policy check FILE says all that is wrong with it")
		return
	}
	var read []string
	for _, f := range []string{lo.System, lo.User, lo.Project} {
		if f != "" && exists(f) && (p.Untrusted() == nil || f != lo.Project) {
			read = append(read, f)
		}
	}
	if len(read) == 0 {
		x.ok("files", "policy", "no file yet: everything is denied but what flags and profiles allow")
	} else {
		x.ok("files", "policy", "%s", strings.Join(read, ", "))
	}
	if u := p.Untrusted(); u != nil {
		why := "nobody has approved it"
		if u.Changed {
			why = "it has changed since it was approved"
		}
		x.bad(Warn, "files", "project policy", fmt.Errorf("%s does not count: %s", u.File, why), "read it, then: penstock policy trust "+u.File)
	}
	x.proxies(p, "/", lo.User)
}

// authority opens the user's certificate authority as a run does.
func (x *examination) authority() {
	dir, err := ca.Dir(x.Host.Getenv)
	if err != nil {
		x.bad(Fail, "files", "authority", err, "")
		return
	}
	f, err := ca.Load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		x.ok("files", "authority", "none yet: the first run makes it in %s", dir)
		return
	}
	if err != nil {
		x.bad(Fail, "files", "authority", err, "penstock ca rotate makes a new one")
		return
	}
	defer f.Close()
	print, err := ca.Fingerprint(f.Certificate)
	if err != nil {
		x.bad(Fail, "files", "authority", err, "penstock ca rotate makes a new one")
		return
	}
	x.ok("files", "authority", "%s, SHA-256 %.16s…", filepath.Join(dir, ca.CertFile), print)
}

// auditDir writes where the audit goes.
func (x *examination) auditDir() {
	dir, err := audit.DefaultDir(x.Host.Getenv)
	if err != nil {
		x.bad(Fail, "files", "audit", err, "")
		return
	}
	if !exists(dir) {
		x.ok("files", "audit", "none yet: the first run makes %s", dir)
		return
	}
	if _, err := audit.OpenExisting(dir); err != nil {
		x.bad(Fail, "files", "audit", err, "")
		return
	}
	f, err := os.CreateTemp(dir, ".doctor-")
	if err == nil {
		_, err = f.Write([]byte{'\n'})
		err = errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		x.bad(Fail, "files", "audit", fmt.Errorf("write to %s: %w", dir, err), "what can't be recorded is denied: free space, or name another place with --audit-dir")
		return
	}
	x.ok("files", "audit", "%s can be written", dir)
}
