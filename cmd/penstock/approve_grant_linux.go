package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/policy/approval"
)

func newKeygenCmd() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "keygen --out FILE",
		Short: "Make a key that signs answers",
		Long: `Make an Ed25519 key for penstock approve grant, write the private one into a new
file that its user alone can read (PEM, PKCS #8, not encrypted), and print the
public one as a policy has it under egress.approvers.`,
		Example: `  penstock approve keygen --out ~/.config/penstock/approve.key`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			public, private, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				return err
			}
			if err := writeKey(out, private); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), policy.KeyText(public))
			return err
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write the private key into this new `file`")
	cmd.MarkFlagRequired("out") //nolint:errcheck // there is one
	return cmd
}

// writeKey never replaces a file: what it has may be the only copy of a key.
func writeKey(path string, key ed25519.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("make the key: %w", err)
	}
	err = f.Chmod(0o600) // whatever the umask leaves
	if err == nil {
		err = pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(path)
		return fmt.Errorf("write the key: %w", err)
	}
	return nil
}

// readKey refuses a private key that others can read: then it is theirs too.
func readKey(path string) (ed25519.PrivateKey, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	defer f.Close()
	bad := func(why, hint string) error {
		return &hintedError{fmt.Errorf("use the key %s: %s", text.Escape(path), why), hint}
	}
	fi, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular():
		return nil, bad("it is no regular file", "make one with penstock approve keygen")
	case fi.Mode().Perm()&0o077 != 0:
		return nil, bad("others can read or write it", "if nobody has: chmod 600; else make another")
	}
	b, err := io.ReadAll(io.LimitReader(f, 16<<10))
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) > 0 {
		return nil, bad("it is not one private key in PEM", "make one with penstock approve keygen")
	}
	any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := any.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, bad("it is no Ed25519 key", "make one with penstock approve keygen")
	}
	return key, nil
}

// grant are the flags of penstock approve grant.
type grant struct {
	key, host, process, audience string
	methods, paths               []string
	hold                         time.Duration
	after                        string
	max                          uint32
	any, deny, json              bool
}

func newGrantCmd() *cobra.Command {
	g := &grant{}
	cmd := &cobra.Command{
		Use:   "grant --key FILE --host HOST --for TIME (--audience NAME | --any)",
		Short: "Sign an answer beforehand",
		Long: `Sign a token that answers what a person would be asked, where nobody is there to
answer, and print it. penstock run takes it by --approvals FILE, or from the
variable PENSTOCK_APPROVALS.

It says yes, or with --deny no, to requests that its rule is about, from now on for
a time, in sessions of that audience, and a yes to --max requests of a session at
most. It answers only what a policy has a person asked about (default: ask, rules
under ask:), and only where that policy has the key among egress.approvers.`,
		Example: `  penstock approve grant --key k --host api.example.com --for 8h --audience job-4711
  penstock approve grant --key k --host https://api.example.com/v1/** --method GET --max 20 --for 1h --any
  penstock approve grant --key k --host '*.example.org' --deny --for 24h --any`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return g.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&g.key, "key", "", "sign with the private key in this `file`")
	f.StringVar(&g.host, "host", "", "about `[SCHEME://]HOST[:PORT][/PATH]`, as with penstock run --allow")
	f.StringArrayVar(&g.methods, "method", nil, "about this `method` only")
	f.StringArrayVar(&g.paths, "path", nil, "about this `path` only, as in a rule")
	f.StringVar(&g.process, "process", "", "about requests of this executable only, by its absolute `path`")
	f.DurationVar(&g.hold, "for", 0, "it holds for this `time`, at most "+approval.MaxFor.String())
	f.StringVar(&g.after, "after", "", "it holds only from this `time` (RFC 3339)")
	f.StringVar(&g.audience, "audience", "", "for sessions of this `NAME` only (penstock run --approvals-audience)")
	f.BoolVar(&g.any, "any", false, "for any session")
	f.Uint32Var(&g.max, "max", 1, "a yes is one to this many `requests` of a session")
	f.BoolVar(&g.deny, "deny", false, "no, instead of yes")
	f.BoolVar(&g.json, "json", false, "print JSON")
	for _, name := range []string{"key", "host", "for"} {
		cmd.MarkFlagRequired(name) //nolint:errcheck // there is one
	}
	cmd.MarkFlagsOneRequired("audience", "any")
	cmd.MarkFlagsMutuallyExclusive("audience", "any")
	cmd.MarkFlagsMutuallyExclusive("max", "deny")
	cmd.MarkFlagFilename("key")
	return cmd
}

func (g *grant) statement(now time.Time) (*approval.Statement, error) {
	from := now
	if g.after != "" {
		t, err := time.Parse(time.RFC3339, g.after)
		if err != nil {
			return nil, badFlag("after", g.after, "a time such as 2026-01-02T15:04:05Z")
		}
		from = t
	}
	if g.hold < time.Second || g.hold > approval.MaxFor {
		return nil, badFlag("for", g.hold.String(), "a time from 1s to "+approval.MaxFor.String())
	}
	s := &approval.Statement{ID: approval.NewID(), Answer: "allow", Audience: g.audience, From: from.Unix(), Until: from.Add(g.hold).Unix(), Max: g.max}
	if g.deny {
		s.Answer, s.Max = "deny", 0
	}
	switch {
	case g.any:
		s.Audience = approval.Any
	case g.audience == approval.Any || !approval.ValidAudience(g.audience):
		return nil, badFlag("audience", g.audience, "letters, digits and -_./:@#+")
	}
	var err error
	s.Rule, err = policy.SignedRule(g.host, g.methods, g.paths, g.process, g.deny)
	return s, err
}

func (g *grant) run(cmd *cobra.Command) error {
	s, err := g.statement(time.Now())
	if err != nil {
		return err
	}
	key, err := readKey(g.key)
	if err != nil {
		return err
	}
	token, err := approval.Sign(key, s)
	if err != nil {
		return err
	}
	if g.json {
		b, err := json.Marshal(struct {
			*approval.Statement
			Key   string `json:"key"`
			Token string `json:"token"`
		}{s, approval.KeyID(key.Public().(ed25519.PublicKey)), token})
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(append(text.JSON(b), '\n'))
		return err
	}
	if rule, err := policy.ParseSigned(s.Rule, g.deny); err == nil && !g.deny {
		for _, w := range rule.Loose() {
			fmt.Fprintln(cmd.ErrOrStderr(), "penstock: WARNING:", w)
		}
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "# %s %s, for %s, until %s\n%s\n", s.Answer, s.Rule, s.Audience, time.Unix(s.Until, 0).UTC().Format(time.RFC3339), token)
	return err
}
