package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// TestAWSKeys: real clients sign with placeholders; what arrives is signed with the
// real keys, as botocore's own signer finds.
func TestAWSKeys(t *testing.T) {
	world.Tool(t, "curl")
	world.Tool(t, "aws")
	if world.Bare() {
		t.Skip("nothing to compare without a pen")
	}
	const key, secret, token = "AKIAREALREALREALREAL", "real-secret-key/0123456789+abcdefghijklm", "real-session-token-0123456789"
	w := world.New(t)
	var mu sync.Mutex
	var arrived []string
	verify := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		headers := map[string]string{"Host": r.Host}
		for name, v := range r.Header {
			headers[name] = strings.Join(v, ",")
		}
		doc, err := json.Marshal(map[string]any{"method": r.Method, "url": "https://" + r.Host + r.RequestURI, "headers": headers, "body": body, "key": key, "secret": secret, "token": token})
		if err != nil {
			t.Error(err)
		}
		cmd := exec.Command("/usr/bin/python3", "testdata/verify_sigv4.py")
		cmd.Stdin = bytes.NewReader(doc)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s %s: %v", r.Method, r.RequestURI, err)
		}
		mu.Lock()
		arrived = append(arrived, fmt.Sprintf("%s %s %s %s", r.Method, r.RequestURI, r.Header.Get("X-Amz-Security-Token"), strings.TrimSpace(string(out))))
		mu.Unlock()
		rw.Header().Set("ETag", `"0123456789abcdef0123456789abcdef"`)
		switch {
		case strings.HasPrefix(r.Host, "sts."):
			rw.Header().Set("Content-Type", "text/xml")
			fmt.Fprint(rw, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>arn:aws:iam::1:user/me</Arn><UserId>x</UserId><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`)
		case r.URL.Query().Get("list-type") == "2":
			rw.Header().Set("Content-Type", "application/xml")
			fmt.Fprint(rw, `<ListBucketResult><Name>my-bucket</Name><KeyCount>1</KeyCount><Contents><Key>a b+c.txt</Key><Size>5</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>`)
		}
	})
	for _, name := range []string{"my-bucket.s3.eu-central-1.amazonaws.com", "s3.eu-central-1.amazonaws.com", "sts.eu-central-1.amazonaws.com", "sts.us-east-1.amazonaws.com"} {
		w.HTTPS(name, verify)
	}
	p := newPen(t, w)
	p.Opts.Env = append(p.Opts.Env, "AWS_ACCESS_KEY_ID="+key, "AWS_SECRET_ACCESS_KEY="+secret, "AWS_SESSION_TOKEN="+token)
	p.Home.Write(t, "project/up.txt", "hello")
	p.Ran = true
	policy := p.Home.Write(t, "policy.yaml", `version: 1
environment: {set: {AWS_DEFAULT_REGION: eu-central-1, AWS_EC2_METADATA_DISABLED: "true", AWS_STS_REGIONAL_ENDPOINTS: regional, AWS_MAX_ATTEMPTS: "1"}}
egress: {allow: [{host: "*.amazonaws.com"}]}
secrets:
  - name: AWS
    hosts: ["*.amazonaws.com"]
    aws: {access_key: "env:AWS_ACCESS_KEY_ID", secret_key: "env:AWS_SECRET_ACCESS_KEY", session_token: "env:AWS_SESSION_TOKEN", services: [s3, sts], regions: [eu-central-1]}
`)
	r := w.Run(p.Home, p.Opts, world.Penstock(t), "run", "--policy", policy, "--ca", w.CA(), "--", "/bin/bash", "-c", `
exec 2>&1
sign() { curl -sS --aws-sigv4 "aws:amz:$1" --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" "${@:2}"; echo; }
sign eu-central-1:sts "https://sts.eu-central-1.amazonaws.com/" -d "Action=GetCallerIdentity&Version=2011-06-15"
sign eu-central-1:s3 "https://my-bucket.s3.eu-central-1.amazonaws.com/a%20b?max-keys=2&prefix=J" -H "x-amz-content-sha256: UNSIGNED-PAYLOAD"
sign us-east-1:sts "https://sts.us-east-1.amazonaws.com/" -d "Action=GetCallerIdentity&Version=2011-06-15"
sign eu-central-1:iam "https://sts.eu-central-1.amazonaws.com/" -d "Action=ListUsers"
curl -sS "https://my-bucket.s3.eu-central-1.amazonaws.com/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=$AWS_ACCESS_KEY_ID%2F20260101%2Feu-central-1%2Fs3%2Faws4_request"
aws sts get-caller-identity --query Account --output text
aws s3 ls s3://my-bucket/
aws s3 cp up.txt "s3://my-bucket/dir/a b+c~(1).txt"
env | grep -c "^AWS_SESSION_TOKEN="
`)
	rest := r.Stdout
	for _, want := range []string{"<Account>123456789012</Account>", "declared for region eu-central-1, and this is for us-east-1", "declared for service s3, sts, and this is for iam",
		"the secret is declared for header Authorization only", "123456789012", "a b+c.txt", "upload: ./up.txt to s3://my-bucket/dir/a b+c~(1).txt", "0"} {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Errorf("no %q in its turn\n%s", want, r)
			break
		}
		rest = after
	}
	if strings.Contains(r.Stdout+r.Stderr, secret) || strings.Contains(r.Stdout+r.Stderr, token) || strings.Contains(r.Stdout+r.Stderr, key) {
		t.Errorf("a key is shown\n%s", r)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(arrived) != 5 {
		t.Errorf("%d requests arrived, want 5", len(arrived))
	}
	for _, a := range arrived {
		if !strings.HasSuffix(a, " "+token+" good") {
			t.Error(a)
		}
	}
}
