package ca

import (
	"path/filepath"
	"slices"
)

// Mount is one file of the host that covers another in the pen, read-only.
type Mount struct {
	Source string // absolute host path
	Target string // absolute path in the pen
}

// BundlePlaces returns where systems keep the roots that programs trust, as one
// PEM file. The first that exists is the system's bundle.
func BundlePlaces() []string {
	return []string{
		"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Gentoo, Arch, Alpine, NixOS
		"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL: what the above points to
		"/etc/ca-certificates/extracted/tls-ca-bundle.pem",  // Arch: what the first points to
		"/etc/ssl/ca-bundle.pem",                            // openSUSE
		"/var/lib/ca-certificates/ca-bundle.pem",            // openSUSE: what the above points to
		"/etc/ssl/certs/ca-bundle.crt",                      // NixOS
		"/etc/ssl/cert.pem",                                 // Alpine, macOS, and OpenSSL's own default
		"/etc/pki/tls/cert.pem",                             // Fedora: OpenSSL's own default
		"/usr/lib/ssl/cert.pem",                             // Debian: OpenSSL's own default
		"/etc/pki/tls/cacert.pem",
		"/usr/local/share/certs/ca-root-nss.crt",
	}
}

// JavaPlaces returns where Java run-times keep the roots that they trust.
// javaHome is the pen's JAVA_HOME, or "".
func JavaPlaces(javaHome string) []string {
	out := []string{
		"/etc/ssl/certs/java/cacerts",              // Debian's run-times point here
		"/etc/pki/ca-trust/extracted/java/cacerts", // Fedora's
		"/etc/pki/java/cacerts",
		"/var/lib/ca-certificates/java-cacerts", // openSUSE's
		"/opt/java/openjdk/lib/security/cacerts",
	}
	// A run-time unpacked from an archive has its own.
	for _, pattern := range []string{"/usr/lib/jvm/*", "/usr/java/*", "/usr/local/openjdk-*", "/opt/jdk*"} {
		homes, _ := filepath.Glob(pattern) // the patterns are well-formed: no error
		for _, h := range homes {
			out = append(out, javaIn(h)...)
		}
	}
	if filepath.IsAbs(javaHome) {
		out = append(out, javaIn(javaHome)...)
	}
	return out
}

func javaIn(home string) []string {
	return []string{
		filepath.Join(home, "lib/security/cacerts"),
		filepath.Join(home, "jre/lib/security/cacerts"), // Java 8
	}
}

// TrustMounts returns which files of the pen are covered by the bundle and the
// Java trust store. resolve returns the path behind symbolic links, or false
// when there is no such file; what does not exist needs no covering, and the
// target of a mount must not be a link. An empty java covers no Java store.
func TrustMounts(resolve func(path string) (string, bool), bundle, java string, javaPlaces []string) []Mount {
	var out []Mount
	cover := func(source string, places []string) {
		for _, p := range places {
			real, ok := resolve(p)
			if ok && !slices.ContainsFunc(out, func(m Mount) bool { return m.Target == real }) {
				out = append(out, Mount{Source: source, Target: real})
			}
		}
	}
	cover(bundle, BundlePlaces())
	if java != "" {
		cover(java, javaPlaces)
	}
	return out
}

// TrustEnv returns the variables by which tools with a root store of their own,
// or none, find the bundle; own is a file with the authority and the policy's
// further roots only, for variables that add to a tool's roots. Both are paths
// in the pen. JAVA_TOOL_OPTIONS is not among them: every JVM would print
// "Picked up JAVA_TOOL_OPTIONS" on stderr; Java's store is covered instead.
func TrustEnv(bundle, own string) []string {
	return []string{
		"SSL_CERT_FILE=" + bundle,      // OpenSSL, Go, rustls-native-certs, .NET, Python's ssl and httpx, uv
		"NODE_EXTRA_CA_CERTS=" + own,   // Node, npm, bun
		"REQUESTS_CA_BUNDLE=" + bundle, // Python requests (else certifi's own)
		"CURL_CA_BUNDLE=" + bundle,     // curl, and requests again
		"GIT_SSL_CAINFO=" + bundle,     // git
		"PIP_CERT=" + bundle,           // pip (else certifi's own)
		"AWS_CA_BUNDLE=" + bundle,      // AWS command line, boto
		"CARGO_HTTP_CAINFO=" + bundle,  // cargo
		"DENO_CERT=" + own,             // Deno (else Mozilla's, compiled in)
		"CODEX_CA_CERTIFICATE=" + bundle,
		"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=" + bundle, // gRPC C core: Python, Ruby, PHP
		"HTTPLIB2_CA_CERTS=" + bundle,                // Google's older Python clients
		"CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE=" + bundle,
		"BUNDLE_SSL_CA_CERT=" + bundle, // Ruby's bundler
		"NIX_SSL_CERT_FILE=" + bundle,
		"HEX_CACERTS_PATH=" + bundle, // Elixir's hex
		"PERL_LWP_SSL_CA_FILE=" + bundle,
		"JULIA_SSL_CA_ROOTS_PATH=" + bundle,
	}
}
