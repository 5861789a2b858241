package containers

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// image is the file that packaging/image makes, made once.
var image struct {
	once sync.Once
	path string
	err  error
}

// tag is the version that the image gets.
const tag = "penstock:1.2.3-test"

// needRoot ends the test where there are no containers to be had, and makes the image.
func needRoot(t *testing.T, tools ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("an engine of its own needs root: root's run has this test")
	}
	for _, tool := range append([]string{"unshare", "dpkg-deb", "apt-get"}, tools...) {
		world.Tool(t, tool)
	}
	penstock := world.Penstock(t)
	world.Gvisor(t)
	image.once.Do(func() {
		image.path, image.err = makeImage(penstock, filepath.Dir(penstock))
	})
	if image.err != nil {
		t.Fatal(image.err)
	}
}

// makeImage runs packaging/image, for this program and the one beside it.
func makeImage(penstock, dist string) (string, error) {
	debs := os.Getenv("PENSTOCK_DEBS")
	if debs == "" {
		debs = "/var/cache/penstock/debs"
	}
	cmd := exec.Command("../../packaging/image")
	cmd.Env = append(os.Environ(), "PENSTOCK="+penstock, "GVISOR="+penstock+"-gvisor", "DEBS="+debs, "DIST="+dist, "VERSION=v1.2.3-test", "ARCH=amd64", "SOURCE_DATE_EPOCH=1700000000")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(err, errors.New(string(out)))
	}
	return filepath.Join(dist, "penstock-1.2.3-test-amd64.oci.tar"), nil
}

// engine starts containers.
type engine struct {
	name  string
	argv  []string // up to the engine's own command
	run   []string // options of each container
	image string
}

// private has a mount namespace of its own: crun refuses control groups that are of
// version 1 with a controller of version 2.
const private = `if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec "$@"`

// podman is one with storage of its own, for a user.
func podman(t *testing.T, runtime, user string) *engine {
	t.Helper()
	needRoot(t, "podman", "conmon", runtime)
	dir, err := os.MkdirTemp("/var/tmp", "penstock-podman-")
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{
		name: "podman", image: "localhost/" + tag,
		argv: []string{"unshare", "--mount", "sh", "-c", private, "_"},
		// The machine may forbid to raise limits, which are podman's defaults.
		run: []string{"--network=none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"},
	}
	if user != "" {
		world.Tool(t, "newuidmap")
		for _, name := range []string{"subuid", "subgid"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(user+":100000:65536\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := exec.Command("chown", "-R", user+":", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		e.argv[4] = "mount --bind " + dir + "/subuid /etc/subuid && mount --bind " + dir + "/subgid /etc/subgid && cd / && " + private
		e.argv = append(e.argv, "setpriv", "--reuid", user, "--regid", "nogroup", "--init-groups",
			"env", "-i", "HOME="+dir, "USER="+user, "XDG_RUNTIME_DIR="+dir, "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	}
	e.argv = append(e.argv, "podman", "--root", dir+"/storage", "--runroot", dir+"/run", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--log-level", "error", "--runtime", runtime)
	t.Cleanup(func() {
		_, _ = e.do(context.Background(), "rm", "--all", "--force", "--time", "0")
		if user != "" { // its files are of ids that only its user namespace has, and root
			_, _ = e.do(context.Background(), "system", "migrate")
		}
		os.RemoveAll(dir)
	})
	if out, err := e.do(t.Context(), "pull", "--quiet", "oci-archive:"+image.path); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return e
}

// docker is a daemon of the test's own.
func docker(t *testing.T) *engine {
	t.Helper()
	needRoot(t, "dockerd", "containerd", "runc")
	client := "/usr/bin/docker" // Debian's, beside others
	if _, err := os.Stat(client); err != nil {
		client = world.Tool(t, "docker")
	}
	dir, err := os.MkdirTemp("/var/tmp", "penstock-docker-")
	if err != nil {
		t.Fatal(err)
	}
	socket := "unix://" + dir + "/socket"
	cmd := exec.Command("dockerd", "--data-root", dir+"/data", "--exec-root", dir+"/exec", "--pidfile", dir+"/pid", "--host", socket,
		"--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false", "--storage-driver=vfs")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it ends containerd, too
		<-ended
		os.RemoveAll(dir)
	})
	e := &engine{name: "docker", argv: []string{client, "--host", socket}, run: []string{"--network=none"}, image: tag}
	for {
		// The client asks until the daemon answers or has ended.
		if _, err := e.do(t.Context(), "version"); err == nil {
			break
		}
		select {
		case <-ended:
			said, _ := os.ReadFile(log.Name())
			ended <- nil
			t.Fatalf("dockerd ended: %s", said)
		default:
		}
	}
	if out, err := e.do(t.Context(), "load", "--input", image.path); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return e
}

// do executes one of the engine's commands.
func (e *engine) do(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, e.argv[0], append(e.argv[1:len(e.argv):len(e.argv)], args...)...)
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// start runs a container of the image with these options until it ends, and returns what
// it wrote and its exit code.
func (e *engine) start(t *testing.T, options []string, args ...string) (string, int) {
	t.Helper()
	all := append(append([]string{"run", "--rm"}, e.run...), options...)
	out, err := e.do(t.Context(), append(append(all, e.image), args...)...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return out, exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return out, 0
}

// documented are the options of a row of docs/containers.md, with the place of the
// profile.
func documented(t *testing.T, row string) []string {
	t.Helper()
	b, err := os.ReadFile("../../docs/containers.md")
	if err != nil {
		t.Fatal(err)
	}
	profile, err := filepath.Abs("../../packaging/container/seccomp.json")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || strings.TrimSpace(cells[1]) != row {
			continue
		}
		var options []string
		for _, o := range strings.Fields(strings.Trim(strings.TrimSpace(cells[3]), "`")) {
			options = append(options, strings.Replace(strings.Trim(o, "'"), "penstock-seccomp.json", profile, 1))
		}
		return options
	}
	t.Fatalf("docs/containers.md has no row %q", row)
	return nil
}
