package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/penstock/penstock/netproxy/ca"
	"github.com/penstock/penstock/supervisor/config"
)

func newCACmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Show, export or replace the certificate authority of your pens",
		Long: `Pens reach TLS servers through a certificate authority of your own, made at the
first run. Its key never leaves your data directory and is read by the proxy
alone. Nothing outside a pen trusts it, and nothing should.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCAPathCmd(), newCAExportCmd(), newCARotateCmd())
	return cmd
}

// caDir is where penstock run keeps the authority.
func caDir() (string, error) {
	host, err := thisHost()
	if err != nil {
		return "", err
	}
	return filepath.Join(config.DefaultPaths(host).Data, "ca"), nil
}

// caView is what the commands print with --json.
type caView struct {
	Path        string `json:"path"`
	Fingerprint string `json:"sha256"`
	Subject     string `json:"subject"`
	NotAfter    string `json:"not_after"`
}

func viewCA(f *ca.Files) (*caView, error) {
	v := &caView{Path: filepath.Join(f.Dir, ca.CertFile)}
	var err error
	if v.Fingerprint, err = ca.Fingerprint(f.Certificate); err != nil {
		return nil, err
	}
	v.Subject, v.NotAfter, err = ca.Describe(f.Certificate)
	return v, err
}

func newCAPathCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "path",
		Short: "Print the path of the authority's certificate, making it if there is none",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := caDir()
			if err != nil {
				return err
			}
			f, err := ca.LoadOrCreate(dir)
			if err != nil {
				return err
			}
			defer f.Close()
			if !asJSON {
				fmt.Fprintln(cmd.OutOrStdout(), filepath.Join(dir, ca.CertFile))
				return nil
			}
			v, err := viewCA(f)
			if err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, with the fingerprint and the end of validity")
	return cmd
}

func newCAExportCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the authority's certificate, never its key, to standard output",
		Long: `Write the authority's certificate, never its key, to standard output, for a
tool in a pen that keeps a trust store of its own.`,
		Example: `  penstock ca export > penstock-ca.pem
  penstock ca export --format java > cacerts.p12   # opens with any password`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := caDir()
			if err != nil {
				return err
			}
			f, err := ca.LoadOrCreate(dir)
			if err != nil {
				return err
			}
			defer f.Close()
			var out []byte
			switch format {
			case "pem":
				out = append(bytes.TrimSpace(f.Certificate), '\n')
			case "der":
				b, _ := pem.Decode(f.Certificate)
				if b == nil {
					return errors.New("export certificate: not PEM")
				}
				out = b.Bytes
			case "java":
				if out, err = ca.JavaStore(f.Certificate); err != nil {
					return err
				}
			default:
				return &config.FlagError{Flag: "--format", Value: format, Why: "no such format", Fix: "use pem, der or java"}
			}
			_, err = cmd.OutOrStdout().Write(out)
			return err
		},
	}
	cmd.Flags().StringVar(&format, "format", "pem", "pem, der or java (PKCS #12)")
	return cmd
}

func newCARotateCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace the authority by a new one, also when it is damaged",
		Long: `Replace the authority by a new one, also when it is damaged. Sessions that run
keep the old one until they end.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := caDir()
			if err != nil {
				return err
			}
			if err := ca.Rotate(dir); err != nil {
				return err
			}
			f, err := ca.Load(dir)
			if err != nil {
				return err
			}
			defer f.Close()
			v, err := viewCA(f)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s, valid until %s\nSHA-256 %s\n", v.Path, v.Subject, v.NotAfter, v.Fingerprint)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
