package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

func newSnapshot() *cobra.Command {
	var file, output, level string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "snapshot --config FILE",
		Short: "Write what the coordinator sees right now, for coordinator plan",
		Long: `snapshot reads every source once, as the daemon would, and writes the snapshot to
standard output. It writes to no cluster. A source that cannot be read within the
timeout is marked as unknown in the snapshot, and named on standard error.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(file)
			if err != nil {
				return err
			}
			log, err := newLogger(level)
			if err != nil {
				return err
			}
			s, err := newSources(c, log)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			g, gctx := errgroup.WithContext(ctx)
			s.run(gctx, g)
			snap := waitKnown(ctx, timeout, func() planner.Snapshot { return s.observe(c) })
			cancel()
			if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
				return err
			}
			for _, src := range unknown(snap) {
				cmd.PrintErrf("unknown: %s %s: %s\n", src.Kind, src.Name, strings.TrimSpace(src.Error))
			}
			for _, src := range troubled(snap) {
				cmd.PrintErrf("trouble: %s %s: %s\n", src.Kind, src.Name, strings.TrimSpace(src.Error))
			}
			return write(cmd.OutOrStdout(), output, snap)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "the configuration file")
	cmd.Flags().StringVarP(&output, "output", "o", "json", "json or yaml")
	cmd.Flags().StringVar(&level, "log-level", "error", "debug, info, warn or error")
	cmd.Flags().DurationVar(&timeout, "timeout", 20*time.Second, "how long to wait for every source")
	return cmd
}

// settleTime is how long a snapshot waits for troubles of single objects to go
// away, once every source is known: some things are read in the background.
const settleTime = 3 * time.Second

// waitKnown observes until every source is known and has no trouble to tell, or
// the time is up.
func waitKnown(ctx context.Context, timeout time.Duration, observe func() planner.Snapshot) planner.Snapshot {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var known time.Time
	for {
		snap := observe()
		switch {
		case len(unknown(snap)) > 0:
			known = time.Time{}
		case len(troubled(snap)) == 0 || !known.IsZero() && time.Since(known) > settleTime:
			return snap
		case known.IsZero():
			known = time.Now()
		}
		select {
		case <-ctx.Done():
			return snap
		case <-time.After(100 * time.Millisecond):
		}
	}
}
