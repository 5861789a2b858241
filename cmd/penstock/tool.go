package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/sandbox/wasm"
)

func newToolCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tool",
		Short: "Show what WebAssembly tools say of themselves",
		Long: `A WebAssembly module for penstock run --sandbox wasm may have a manifest beside it,
NAME.wasm.json: a description, its arguments, and the most that it gets of what the
policy grants: paths, hosts, memory, time. What a manifest does not list the module
does not have; what the policy does not grant a manifest can't add. These commands
read manifests and run nothing.`,
		Example: `  penstock tool ls tools
  penstock tool show tools/models.wasm
  penstock tool show --json tools/models.wasm`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newToolLsCmd(), newToolShowCmd())
	return cmd
}

// tool is a module with its manifest, in the form that the Model Context Protocol has
// of tools, with what it wants beside.
type tool struct {
	Name        string         `json:"name"`
	Description string         `json:"description"`
	InputSchema map[string]any `json:"inputSchema"`
	Module      string         `json:"module"`
	Manifest    *wasm.Manifest `json:"manifest"`
}

// readTool reads what a module says of itself; nil if it says nothing.
func readTool(module string) (*tool, error) {
	m, err := wasm.ReadManifest(module)
	if m == nil || err != nil {
		return nil, err
	}
	return &tool{strings.TrimSuffix(filepath.Base(module), ".wasm"), m.Description, m.InputSchema(), module, m}, nil
}

func newToolLsCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ls [DIRECTORY]",
		Short: "List the WebAssembly tools of a directory",
		Long: `List the modules (*.wasm) of a directory that have a manifest, this one's without a
word. A manifest that can't be read is an error, after the others.`,
		Example: `  penstock tool ls tools
  penstock tool ls --json tools`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := append(args, ".")[0]
			entries, err := os.ReadDir(dir)
			if err != nil {
				return fmt.Errorf("list tools: %w", err)
			}
			list := []*tool{}
			var bad error
			for _, e := range entries {
				if filepath.Ext(e.Name()) != ".wasm" {
					continue
				}
				t, err := readTool(filepath.Join(dir, e.Name()))
				if err != nil && bad == nil {
					bad = err
				}
				if t != nil {
					list = append(list, t)
				}
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), list)
			} else {
				tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintln(tw, "TOOL\tARGUMENTS\tDESCRIPTION")
				for _, t := range list {
					fmt.Fprintf(tw, "%s\t%s\t%s\n", text.Escape(t.Name), t.Manifest.Usage(), text.Clip(t.Description, 100))
				}
				err = tw.Flush()
			}
			if err == nil {
				err = bad
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newToolShowCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show MODULE",
		Short: "Show the manifest of a WebAssembly tool",
		Long: `Show what a module's manifest says: what it is for, its arguments, and the most that
it gets. With --json it has the names that the Model Context Protocol has for a tool:
name, description, inputSchema.`,
		Example: `  penstock tool show tools/models.wasm
  penstock tool show --json tools/models.wasm`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := readTool(args[0])
			if err != nil {
				return err
			}
			if t == nil {
				return fmt.Errorf("show tool: there is no %s", wasm.ManifestPath(args[0]))
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), t)
			}
			t.write(cmd.OutOrStdout())
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// write prints it for people. Its words are those of whoever wrote the manifest.
func (t *tool) write(w io.Writer) {
	m := t.Manifest
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	line("%s: %s", text.Escape(t.Name), text.Escape(t.Description))
	line("takes %s", m.Usage())
	for _, a := range m.Arguments {
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("  %-12s %-8s %s", strings.ToUpper(a.Name), a.Type, text.Escape(a.Description)), " "))
	}
	of := func(what string, list []string) {
		if len(list) == 0 {
			list = []string{"nothing"}
		}
		line("%-12s %s", what, strings.Join(list, ", "))
	}
	var paths []string
	for _, p := range m.Paths {
		if p.Write {
			paths = append(paths, text.Escape(p.Path)+" (writes)")
		} else {
			paths = append(paths, text.Escape(p.Path))
		}
	}
	of("paths", paths)
	of("hosts", m.Hosts)
	if m.MemoryMiB > 0 {
		line("%-12s %d MiB", "memory", m.MemoryMiB)
	}
	if m.Timeout != "" {
		line("%-12s %s", "timeout", m.Limit())
	}
}
