package e2e

import (
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// What real clients do, and what becomes of it, is as in the tier bwrap: these are its
// own tests, by whoever runs them.
func TestGvisorClients(t *testing.T) {
	if world.Bare() {
		t.Skip("no tier without a pen")
	}
	world.Gvisor(t)
	t.Setenv("PENSTOCK_E2E_TIER", "gvisor")
	for name, f := range map[string]func(*testing.T){
		"curl": TestCurl, "curl by method and path": TestCurlByMethodAndPath, "wget": TestWget, "git": TestGit,
		"npm": TestNpmInstall, "pip": TestPipDownload, "go": TestGoModDownload, "requests": TestPythonRequests, "urllib": TestPythonUrllib,
		"node": TestNodeFetch, "java": TestJavaHTTPClient, "events": TestServerSentEvents, "grpc": TestGRPC, "websocket": TestWebSocket,
		"ssh": TestSSH, "psql": TestPsql, "proxy variables": TestProxyVariables, "socks": TestSOCKS,
		"an address": TestLiteralAddress, "ipv6": TestIPv6, "not inspected": TestPassThrough, "a server that speaks first": TestServerSpeaksFirst,
		"datagrams": TestDatagrams, "the host's loopback": TestHostLoopback,
	} {
		t.Run(name, f)
	}
}

// Coding agents do their job in it, offline, with the verdicts that they have in the
// tier bwrap.
func TestGvisorAgents(t *testing.T) {
	if world.Bare() {
		t.Skip("no tier without a pen")
	}
	world.Gvisor(t)
	t.Setenv("PENSTOCK_E2E_TIER", "gvisor")
	for _, a := range agents {
		if a.name == "opencode" || a.name == "claude" {
			t.Run(a.name, func(t *testing.T) { testAgent(t, a) })
		}
	}
}
