package proxyrole

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// underFloor puts the administrator's policy below the caller's, and takes from
// the caller's configuration what the floor does not leave to him. It returns the
// floor, nil if there is none.
func (s *supervised) underFloor(cfg *proxyctl.Config) (floor *policy.File, err error) {
	if s.assign.FloorName != "" {
		if floor, err = policy.Parse(s.assign.FloorName, policy.System, s.assign.FloorText); err != nil {
			return nil, err
		}
		// The administrator's names are the administrator's to resolve: what the
		// caller says these files are is dropped with his copy of the rules.
		// Landlock does not keep the role from stat(2); the content it can't read,
		// so a sha256 is only compared with what is known of the process.
		if floor, err = floor.ResolveExecutables(s.mounts.Finder(false)); err != nil {
			return nil, err
		}
		if err := within(floor.Limits(), s.assign.Limits); err != nil {
			return nil, err
		}
	}
	if cfg.Policy, err = policy.UnderFloor(floor, cfg.Policy); err != nil {
		return nil, err
	}
	cfg.Mode = string(cfg.Policy.Mode())
	if floor == nil {
		return nil, nil
	}
	if ca := floor.Limits().CA; ca.Set && !ca.V {
		// Only the administrator's files are left in the policy, and their
		// content comes from where he put it, not from the caller.
		if cfg.Roots, err = ownRoots(cfg.Policy.CAFiles()); err != nil {
			return nil, fmt.Errorf("%w (%s does not let callers add roots)", err, ca.From.Ref())
		}
	}
	return floor, nil
}

// within says that what the daemon was asked to enforce is in the floor's
// limits. The daemon does not read the floor; a caller who asks for more has no
// session.
func within(floor policy.Limits, asked sandbox.Limits) error {
	return errors.Join(
		most("memory", floor.Memory, asked.Memory), most("cpus", floor.CPUs, asked.CPUs), most("pids", floor.PIDs, asked.PIDs),
		most("open_files", floor.OpenFiles, asked.OpenFiles), most("timeout", floor.Timeout, asked.Wall), most("idle", floor.Idle, asked.Idle),
		most("read_rate", floor.ReadRate, asked.ReadRate), most("write_rate", floor.WriteRate, asked.WriteRate),
	)
}

func most[T int64 | float64 | time.Duration](what string, limit policy.Value[T], asked T) error {
	if limit.Set && (asked <= 0 || asked > limit.V) {
		return fmt.Errorf("the session was opened with more %s than %s allows", what, limit.From.Ref())
	}
	return nil
}

// maxRoots bounds one file of root certificates, in bytes.
const maxRoots = 4 << 20

// ownRoots reads the administrator's certificates.
func ownRoots(files []string) ([][]byte, error) {
	var out [][]byte
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read root certificates, which must be below /etc/ssl or /etc/pki: %w", err)
		}
		pem, err := io.ReadAll(io.LimitReader(f, maxRoots))
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read root certificates: %w", err)
		}
		out = append(out, pem)
	}
	return out, nil
}
