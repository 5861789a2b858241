package ca

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const javaGet = `
import java.net.URI;
import java.net.http.*;
public class Get {
  public static void main(String[] a) throws Exception {
    for (String u : a) {
      var r = HttpClient.newHttpClient().send(HttpRequest.newBuilder(URI.create(u)).build(), HttpResponse.BodyHandlers.ofString());
      System.out.print(r.body());
    }
  }
}`

const pythonGet = `
import ssl, sys, urllib.request
c = ssl.create_default_context()
# What Python 3.13 turns on by itself: RFC 5280 to the letter.
c.verify_flags |= ssl.VERIFY_X509_STRICT
for u in sys.argv[1:]:
    print(urllib.request.urlopen(u, context=c).read().decode(), end='')
`

// TestClients fetches from a server with our leaves by the programs that are
// here, with the variables and stores that a pen has.
func TestClients(t *testing.T) {
	if testing.Short() {
		t.Skip("starts other programs")
	}
	a, certPEM := newAuthority(t)
	dir := t.TempDir()
	tr, err := PrepareTrust(TrustOptions{Dir: filepath.Join(dir, "trust"), Certificate: certPEM, Java: true})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello-"+r.Host[:4]+" ") }),
		TLSConfig: &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if h.ServerName == "" {
				return a.Leaf("127.0.0.1") // an address is not sent as SNI
			}
			return a.Leaf(h.ServerName)
		}},
	}
	go srv.ServeTLS(ln, "", "")
	port := ln.Addr().(*net.TCPAddr).Port
	byName, byAddr := fmt.Sprintf("https://localhost:%d/", port), fmt.Sprintf("https://127.0.0.1:%d/", port)
	java := filepath.Join(dir, "Get.java")
	os.WriteFile(java, []byte(javaGet), 0o600)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		program string
		args    []string
		env     []string
	}{
		{"curl", []string{"-sS", byName, byAddr}, nil},
		{"curl", []string{"-sS", "--http2", "--tlsv1.3", byName, byAddr}, nil},
		{"wget", []string{"-q", "-O-", "--ca-certificate=" + tr.Bundle, byName, byAddr}, nil}, // GnuTLS on Debian: reads the system's file, no variable
		{"python3", []string{"-c", pythonGet, byName, byAddr}, nil},
		{"python3", []string{"-c", "import requests,sys\nfor u in sys.argv[1:]: print(requests.get(u).text, end='')", byName, byAddr}, nil},
		{"node", []string{"-e", "(async()=>{for(const u of process.argv.slice(1))process.stdout.write(await (await fetch(u)).text())})().catch(e=>{console.error(e);process.exit(1)})", byName, byAddr}, nil},
		{self, []string{goClient, byName, byAddr}, nil},
		// Java 17 opens its default store without a password, others with one.
		{"java", []string{"-Djavax.net.ssl.trustStore=" + tr.Java, java, byName, byAddr}, nil},
		{"keytool", []string{"-list", "-keystore", tr.Java, "-storepass", "changeit", "-alias", "penstock-000"}, nil},
		{"openssl", []string{"s_client", "-quiet", "-x509_strict", "-verify_return_error", "-verify_hostname", "localhost", "-CAfile", tr.Bundle, "-connect", fmt.Sprintf("127.0.0.1:%d", port), "-servername", "localhost"}, nil},
	} {
		t.Run(filepath.Base(tt.program), func(t *testing.T) {
			t.Parallel()
			path, err := exec.LookPath(tt.program)
			if err != nil {
				if os.Getenv("CI") == "true" {
					t.Fatalf("%s is not installed", tt.program)
				}
				t.Skipf("install %s", tt.program)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, path, tt.args...)
			cmd.Dir = dir
			cmd.Env = append(append(os.Environ(), TrustEnv(tr.Bundle, tr.Own)...), tt.env...)
			for _, p := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
				cmd.Env = append(cmd.Env, p+"=")
			}
			want := "hello-loca hello-127. "
			switch tt.program {
			case "openssl":
				cmd.Stdin = strings.NewReader("GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
				want = "hello-loca"
			case "keytool":
				want = "trustedCertEntry"
			}
			out, err := cmd.CombinedOutput()
			if strings.Contains(string(out), "No module named 'requests'") {
				if os.Getenv("CI") == "true" {
					t.Fatal("install python3-requests")
				}
				t.Skip("install python3-requests")
			}
			if (err != nil && tt.program != "openssl") || !strings.Contains(string(out), want) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	// The subtests run when this function returns; keep the server until then.
	t.Cleanup(func() { srv.Close() })
}
