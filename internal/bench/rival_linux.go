package main

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// rivals are proxies of others that take TLS apart too, and record nothing here.
// They are explicit proxies: a connection begins with CONNECT.
func rivals() []row {
	port := func(ref string, n int) map[string]int { return map[string]int{"penstock": penH1, ref: n} }
	return []row{
		{name: "intercepted, 32 connections, beside squid", ours: "penstock", ref: "squid", unit: "requests/s", larger: true, reach: 1, port: port("squid", squidPort), do: keepAlive(h1Name, 32)},
		{name: "intercepted, 32 connections, beside mitmproxy", ours: "penstock", ref: "mitmproxy", unit: "requests/s", larger: true, reach: 10, port: port("mitmproxy", mitmPort), do: keepAlive(h1Name, 32)},
	}
}

// connectTo is what a connection to a rival asks for; "" for a proxy of ours.
func connectTo(port int) string {
	switch port {
	case squidPort:
		return host(h1Name)
	case mitmPort: // has no file of hosts
		return "127.0.0.1:" + strconv.Itoa(originH1)
	}
	return ""
}

// rival starts one, with an authority that it and the clients share. The error
// says that it is not there.
func (b *bench) rival(name string) (stop func(), err error) {
	dir := filepath.Join(b.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	write := func(file, text string) string {
		path := filepath.Join(dir, file)
		if werr := os.WriteFile(path, []byte(text), 0o600); werr != nil {
			err = werr
		}
		return path
	}
	pair, cert, err := rivalAuthority()
	if err != nil {
		return nil, err
	}
	b.world.pool.AddCert(cert)
	known := write("origin.pem", string(b.world.cert))
	var cmd *exec.Cmd
	port, service := squidPort, ""
	switch name {
	case "squid":
		db := filepath.Join(dir, "certs")
		if out, err := exec.Command("/usr/lib/squid/security_file_certgen", "-c", "-s", db, "-M", "4MB").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("make squid's certificates: %w: %s", err, out)
		}
		service = strings.ToLower(rand.Text()) // by which its shared memory is named
		cmd = exec.Command("squid", "-N", "-n", service, "-f", write("squid.conf", fmt.Sprintf(`http_port 127.0.0.1:%d ssl-bump tls-cert=%s generate-host-certificates=on dynamic_cert_mem_cache_size=4MB
sslcrtd_program /usr/lib/squid/security_file_certgen -s %s -M 4MB
ssl_bump bump all
http_access allow all
tls_outgoing_options cafile=%s
hosts_file %s
cache deny all
cache_mem 8 MB
access_log none
cache_log %s/cache.log
coredump_dir %[6]s
netdb_filename none
pid_filename none
pinger_enable off
shutdown_lifetime 0 seconds
visible_hostname bench.test
`, squidPort, write("ca.pem", pair), db, known, write("hosts", "127.0.0.1 "+h1Name+"\n"), dir)))
		// It does not serve as root: the same user under another number.
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 13, HostID: 0, Size: 1}}, GidMappings: []syscall.SysProcIDMap{{ContainerID: 13, HostID: 0, Size: 1}}}
	case "mitmproxy":
		port = mitmPort
		write("mitmproxy-ca.pem", pair)
		cmd = exec.Command("mitmdump", "-q", "--listen-host", "127.0.0.1", "--listen-port", strconv.Itoa(mitmPort), "--set", "confdir="+dir,
			"--set", "ssl_verify_upstream_trusted_ca="+known, "--set", "connection_strategy=lazy", "--set", "flow_detail=0")
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if err != nil {
		return nil, err
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.Env = append(os.Environ(), "HOME="+dir, "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = func() {
		cmd.Process.Kill()
		<-ended
		if service != "" { // a squid that was killed leaves it
			left, _ := filepath.Glob("/dev/shm/" + service + "-*")
			for _, path := range left {
				os.Remove(path)
			}
		}
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for give := time.Now().Add(time.Minute); ; <-tick.C {
		c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			c.Close()
			return stop, nil
		}
		select {
		case err := <-ended:
			return nil, fmt.Errorf("start %s: it ended: %v", name, err)
		default:
		}
		if time.Now().After(give) {
			stop()
			return nil, fmt.Errorf("start %s: %w", name, err)
		}
	}
}

// connect has a rival connect.
func connect(c net.Conn, target string) error {
	if _, err := fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target); err != nil {
		return err
	}
	// Nothing follows the answer before we speak.
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("CONNECT: %s", resp.Status)
	}
	return nil
}

// rivalAuthority returns key and certificate in one PEM. It is an RSA key, which
// both rivals take.
func rivalAuthority() (string, *x509.Certificate, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", nil, err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: rivalName}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return "", nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return "", nil, err
	}
	var b strings.Builder
	pem.Encode(&b, &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	return b.String(), cert, nil
}
