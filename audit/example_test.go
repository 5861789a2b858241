package audit_test

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
)

// A session from its first record to its proof.
func Example() {
	dir, err := os.MkdirTemp("", "audit")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	store, err := audit.Open(filepath.Join(dir, "audit"))
	if err != nil {
		panic(err)
	}
	session, err := store.Create(time.Now())
	if err != nil {
		panic(err)
	}
	w, err := audit.NewWriter(session.File, session.ID)
	if err != nil {
		panic(err)
	}
	// Before the first byte leaves. An error here is a deny.
	err = w.Append(&audit.FlowOpen{
		Flow: 1, Protocol: hooks.ProtocolHTTPS, Target: hooks.Target{Host: "api.example.com", Port: 443},
		Method: "GET", Path: "/", Verdict: hooks.Allow, Rule: "policy.yaml:3",
	})
	if err != nil {
		panic(err)
	}
	w.Note(&audit.FlowClose{Flow: 1, BytesUp: 120, BytesDown: 4500, Status: 200})
	if err := w.Close(); err != nil {
		panic(err)
	}
	if err := session.Seal(w.Head()); err != nil {
		panic(err)
	}

	report, err := store.Verify(audit.VerifyOptions{})
	if err != nil {
		panic(err)
	}
	fmt.Println(report.Whole(), report.Sessions[0].Records)
	// Output: true 2
}
