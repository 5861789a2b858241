package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/supervisor/registry"
)

func newTopCmd() *cobra.Command {
	v := &view{r: &running{}}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch the running sessions",
		Long: `Watch the running sessions, those first that use most of the processor: %CPU is
of one processor since the last look. On a terminal the screen is drawn again and
again until q is typed; elsewhere each look is a block of lines.`,
		Example: `  penstock top
  penstock top --every 10s
  penstock top --count 1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if v.every < 100*time.Millisecond {
				return badFlag("every", v.every.String(), "at least 100ms")
			}
			if v.count < 0 {
				return badFlag("count", fmt.Sprint(v.count), "a number from 0")
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			in, _ := cmd.InOrStdin().(*os.File)
			return v.watch(ctx, in, cmd.OutOrStdout())
		},
	}
	cmd.Flags().DurationVarP(&v.every, "every", "d", 2*time.Second, "`time` between two looks")
	cmd.Flags().IntVarP(&v.count, "count", "n", 0, "end after `N` looks")
	v.r.flags(cmd)
	v.r.everybody(cmd)
	return cmd
}

// view is penstock top.
type view struct {
	r     *running
	every time.Duration
	count int // 0: no end

	seen time.Time
	cpu  map[string]time.Duration // at the last look, by session
}

// watch draws until ctx ends, q is typed or count is reached.
func (v *view) watch(ctx context.Context, in *os.File, out io.Writer) error {
	screen, _ := out.(*os.File)
	if screen != nil && !term.IsTerminal(int(screen.Fd())) {
		screen = nil
	}
	keys := make(chan byte)
	resized := make(chan os.Signal, 1)
	if screen != nil {
		if in != nil && term.IsTerminal(int(in.Fd())) {
			old, err := term.MakeRaw(int(in.Fd()))
			if err != nil {
				return fmt.Errorf("take over the terminal: %w", err)
			}
			defer term.Restore(int(in.Fd()), old) //nolint:errcheck // it may be gone
			go readKeys(ctx, in, keys)
		}
		signal.Notify(resized, syscall.SIGWINCH)
		defer signal.Stop(resized)
		// The other screen, without a cursor; and back.
		io.WriteString(screen, "\x1b[?1049h\x1b[?25l")       //nolint:errcheck // the next write tells
		defer io.WriteString(screen, "\x1b[?25h\x1b[?1049l") //nolint:errcheck // it may be gone
	}
	t := time.NewTicker(v.every)
	defer t.Stop()
	for n := 1; ; n++ {
		list, err := v.r.list(ctx)
		if err != nil {
			return err
		}
		if err := v.draw(list, time.Now(), screen, out); err != nil {
			return err
		}
		if n == v.count {
			return nil
		}
	wait:
		for {
			select {
			case <-ctx.Done():
				return nil
			case k := <-keys:
				if k == 'q' || k == 'Q' || k == 3 || k == 4 { // Ctrl-C and Ctrl-D, which mean nothing else in raw mode
					return nil
				}
			case <-resized:
				break wait
			case <-t.C:
				break wait
			}
		}
	}
}

// readKeys passes on what is typed. It outlives watch by one key at most; the
// process ends then.
func readKeys(ctx context.Context, in *os.File, keys chan<- byte) {
	b := make([]byte, 1)
	for {
		if n, err := in.Read(b); n == 0 || err != nil {
			return
		}
		select {
		case keys <- b[0]:
		case <-ctx.Done():
			return
		}
	}
}

// draw shows one look: over the last one on a screen, after it elsewhere.
func (v *view) draw(list []registry.Status, now time.Time, screen *os.File, out io.Writer) error {
	lines := v.table(list, now)
	if screen == nil {
		_, err := out.Write(append(bytes.Join(lines, []byte("\n")), "\n\n"...))
		return err
	}
	width, height, err := term.GetSize(int(screen.Fd()))
	if err != nil || width < 1 || height < 1 {
		width, height = 80, 24
	}
	var b bytes.Buffer
	b.WriteString("\x1b[H")
	for i, line := range lines[:min(len(lines), height)] {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(clipRunes(string(line), width) + "\x1b[K")
	}
	b.WriteString("\x1b[J")
	_, err = screen.Write(b.Bytes())
	return err
}

// clipRunes cuts a line of escaped text to a screen's width.
func clipRunes(s string, width int) string {
	if r := []rune(s); len(r) > width {
		return string(r[:width])
	}
	return s
}

// table renders one look. Nothing of the sessions' own text is left unescaped.
func (v *view) table(list []registry.Status, now time.Time) [][]byte {
	type row struct {
		*registry.Status
		percent float64
	}
	var rows []row
	var sum struct {
		memory, pids, flows, denied uint64
		percent                     float64
		frozen                      int
	}
	cpu := map[string]time.Duration{}
	for i := range list {
		r := row{Status: &list[i]}
		cpu[r.Session] = r.CPU
		if old, ok := v.cpu[r.Session]; ok && now.After(v.seen) && r.CPU > old {
			r.percent = 100 * float64(r.CPU-old) / float64(now.Sub(v.seen))
		}
		rows = append(rows, r)
		sum.memory, sum.pids, sum.flows, sum.denied = sum.memory+r.Memory, sum.pids+r.PIDs, sum.flows+r.Flows, sum.denied+r.Denied
		sum.percent += r.percent
		if r.State == registry.Frozen {
			sum.frozen++
		}
	}
	v.cpu, v.seen = cpu, now
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(b.percent, a.percent) })
	var b bytes.Buffer
	fmt.Fprintf(&b, "penstock top %s  sessions: %d, frozen: %d  %.0f%% CPU  %s  %d processes  %d flows, %d denied\n\n",
		now.Local().Format(time.TimeOnly), len(rows), sum.frozen, sum.percent, bytesOf(sum.memory), sum.pids, sum.flows, sum.denied)
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "SESSION\tUSER\tUP\tBY\tSTATE\t%CPU\tMEMORY\tPIDS\tFLOWS\tDENIED\tCOMMAND")
	for _, r := range rows {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%.0f\t%s\t%d\t%d\t%d\t%s\n", text.Clip(r.Session, 64), userName(r.UID), now.Sub(r.Started).Round(time.Second),
			supervisorOf(r.Status), text.Clip(r.State, 20), r.percent, bytesOf(r.Memory), r.PIDs, r.Flows, r.Denied, shown(r.Command))
	}
	tw.Flush() //nolint:errcheck // to memory
	return bytes.Split(bytes.TrimSuffix(b.Bytes(), []byte("\n")), []byte("\n"))
}
