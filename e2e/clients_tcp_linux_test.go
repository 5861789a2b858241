package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/world"
)

// serverUser says as whom to run a real server: never as root.
func serverUser(t *testing.T, dir string) (name string, attr *syscall.SysProcAttr) {
	t.Helper()
	if os.Getuid() == 0 {
		if err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(p, world.UserID, world.UserID)
		}); err != nil {
			t.Fatal(err)
		}
		return "penworld", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: world.UserID, Gid: world.UserID}}
	}
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username, &syscall.SysProcAttr{}
}

// serverDir is a directory that the server's user can reach (t.TempDir is
// below a directory of mode 0700).
func serverDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "penstock-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func must(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
}

func TestSSH(t *testing.T) {
	sshd, keygen := world.Tool(t, "sshd"), world.Tool(t, "ssh-keygen")
	world.Tool(t, "ssh")
	w := world.New(t)
	good, evil := w.Place("ssh.example.com", 2222), w.Place("evil-ssh.example.com", 2222)
	dir := serverDir(t)
	must(t, exec.Command(keygen, "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "host")))
	must(t, exec.Command(keygen, "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "client")))
	private, err := os.ReadFile(filepath.Join(dir, "client"))
	if err != nil {
		t.Fatal(err)
	}
	hostKey, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`ListenAddress %[2]s:2222
HostKey %[1]s/host
AuthorizedKeysFile %[1]s/client.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
Subsystem sftp internal-sftp
`, dir, good.Addr)
	if err := os.WriteFile(filepath.Join(dir, "sshd_config"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	name, attr := serverUser(t, dir)
	cmd := exec.Command(sshd, "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
	cmd.SysProcAttr = attr
	log := &strings.Builder{}
	cmd.Stderr = log
	w.Start(cmd)
	w.WaitFor(good, 10*time.Second)

	p := newPen(t, w)
	p.Allow = []string{"{host: ssh.example.com, ports: [2222], protocol: tcp}"}
	key := p.Home.Write(t, "project/key", string(private))
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	p.Home.Write(t, "project/known_hosts", "[ssh.example.com]:2222 "+string(hostKey)+"[evil-ssh.example.com]:2222 "+string(hostKey))
	ssh := "ssh -F /dev/null -p 2222 -i key -o UserKnownHostsFile=known_hosts -o StrictHostKeyChecking=yes -o BatchMode=yes -o ConnectTimeout=15 " + name + "@"
	r := p.Sh(ssh + `ssh.example.com 'echo "remote says $((6*7))"; head -c 300000 /dev/zero | sha256sum'; echo "code $?"`)
	world.WantOutput(t, r, 0, "remote says 42", "code 0")
	p.WantAllowed("ssh.example.com")
	r = p.Sh(ssh + "evil-ssh.example.com true")
	world.WantOutput(t, r, 255)
	p.WantDenied(evil)
	if t.Failed() {
		t.Log(log)
	}
}

func TestPsql(t *testing.T) {
	world.Tool(t, "psql")
	initdb := postgresTool(t, "initdb")
	postgres := postgresTool(t, "postgres")
	w := world.New(t)
	good, evil := w.Place("db.example.com", 5432), w.Place("evil-db.example.com", 5432)
	dir := serverDir(t)
	_, attr := serverUser(t, dir)
	data := filepath.Join(dir, "data")
	cmd := exec.Command(initdb, "-D", data, "-U", "app", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
	cmd.SysProcAttr, cmd.Dir = attr, dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + dir}
	must(t, cmd)
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte("host all all 0.0.0.0/0 trust\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	server := exec.Command(postgres, "-D", data, "-p", "5432", "-c", "listen_addresses="+good.Addr.String(), "-k", dir, "-F")
	server.SysProcAttr, server.Dir = attr, dir
	server.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + dir, "LC_ALL=C"}
	log := &strings.Builder{}
	server.Stderr = log
	w.Start(server)
	w.WaitFor(good, 20*time.Second)

	p := newPen(t, w)
	p.Allow = []string{"{host: db.example.com, ports: [5432], protocol: tcp}"}
	r := p.Run("psql", "-X", "-At", "postgresql://app@db.example.com/postgres?connect_timeout=15", "-c", "select 'answer', 6*7", "-c", "select count(*) from generate_series(1,200000)")
	world.WantOutput(t, r, 0, "answer|42", "200000")
	p.WantAllowed("db.example.com")
	r = p.Run("psql", "-X", "-At", "postgresql://app@evil-db.example.com/postgres?connect_timeout=15", "-c", "select 1")
	world.WantOutput(t, r, 2)
	p.WantDenied(evil)
	if t.Failed() {
		t.Log(log)
	}
}

// postgresTool finds a server program, which Debian keeps off the PATH.
func postgresTool(t *testing.T, name string) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		return world.Tool(t, name)
	}
	return found[len(found)-1]
}
