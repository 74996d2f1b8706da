package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/go-logr/zapr"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/tandem-autoscaler/tandem/pkg/config"
	"github.com/tandem-autoscaler/tandem/pkg/coordinator"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

type runFlags struct {
	config, logLevel, identity string
	dryRun                     bool
}

func newRun() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run --config FILE",
		Short: "Run the coordinator until it is told to stop",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(f.config)
			if err != nil {
				return err
			}
			c.Loop.DryRun = c.Loop.DryRun || f.dryRun
			log, err := newLogger(f.logLevel)
			if err != nil {
				return err
			}
			defer func() { _ = log.Sync() }()
			return run(cmd.Context(), f.config, c, log, f.identity)
		},
	}
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "the configuration file; see coordinator config default")
	cmd.Flags().StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "plan and record, but write nothing")
	cmd.Flags().StringVar(&f.identity, "identity", "", "name of this replica in the leader election (default: $POD_NAME, else host name and process id)")
	return cmd
}

func loadConfig(file string) (config.Configuration, error) {
	if file == "" {
		return config.Configuration{}, usageError{errors.New("which configuration? name the file with --config")}
	}
	c, err := config.Load(file)
	if err == nil {
		err = c.CheckFiles()
	}
	if err != nil {
		return c, invalidError{err}
	}
	return c, nil
}

// newLogger logs JSON lines to standard error; libraries log through it, too.
func newLogger(level string) (*zap.Logger, error) {
	l, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, usageError{fmt.Errorf("log level %q is not one of debug, info, warn, error", level)}
	}
	zc := zap.NewProductionConfig()
	zc.Level = zap.NewAtomicLevelAt(l)
	zc.Sampling = nil
	zc.EncoderConfig.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	zc.DisableStacktrace = true
	log, err := zc.Build()
	if err != nil {
		return nil, fmt.Errorf("building the logger: %w", err)
	}
	bridged := zapr.NewLogger(log.Named("library").WithOptions(zap.IncreaseLevel(max(l, zapcore.WarnLevel))))
	klog.SetLogger(bridged)
	ctrllog.SetLogger(bridged)
	return log, nil
}

// run wires everything and blocks until ctx ends or something fails for good.
func run(ctx context.Context, file string, c config.Configuration, log *zap.Logger, identity string) error {
	limitMemory(log, memlimit.FromCgroup)
	s, err := newSources(c, log)
	if err != nil {
		return err
	}
	out, err := newOutputs(ctx, c, s, log)
	if err != nil {
		return err
	}
	watcher := config.NewWatcher(file, c, config.WatchOptions{Reloaded: out.reloaded(c, log)})
	out.current = watcher.Current
	held := newLease(c.LeaderElection, log)
	loop := coordinator.New(coordinator.Options{
		Observers: s.observers(), Actuator: newActuators(c, s, log), Recorder: out.recorder,
		Policy: func() planner.Policy { now := watcher.Current(); return now.Policy() },
		Gates:  []coordinator.Gate{held.gate, pauseGate(c, s)},
		Wake:   s.wake, Ready: s.ready, Interval: c.Loop.Interval.Duration, DryRun: c.Loop.DryRun, Log: log,
	})
	out.watch(loop, s, c.Loop.Interval.Duration)
	log.Info("coordinator started", zap.String("version", version), zap.String("namespace", c.Management.Namespace),
		zap.String("cluster", c.Management.ClusterName), zap.Bool("dryRun", c.Loop.DryRun))
	g, gctx := errgroup.WithContext(ctx)
	s.run(gctx, g)
	g.Go(func() error { return out.run(gctx) })
	g.Go(func() error { return watcher.Run(gctx) })
	g.Go(func() error { return held.run(gctx, s, orIdentity(identity), loop.Run) })
	err = g.Wait()
	out.close()
	log.Info("coordinator stopped")
	if ctx.Err() == nil {
		return err
	}
	return nil // it was asked to stop, and what ended then ended for that reason
}

func orIdentity(identity string) string {
	if identity != "" {
		return identity
	}
	if pod := os.Getenv("POD_NAME"); pod != "" {
		return pod
	}
	host, err := os.Hostname()
	if err != nil {
		host = "coordinator"
	}
	return fmt.Sprintf("%s-%d", strings.ToLower(host), os.Getpid())
}

// livenessFactor is how many intervals a round may last, or the loop stand still,
// before the process counts as stuck.
const livenessFactor = 12

func liveLimit(interval time.Duration) time.Duration {
	return max(livenessFactor*interval, time.Minute)
}

// memoryShare is the part of the memory limit at which garbage is collected more
// eagerly. The rest is for what the runtime does not count.
const memoryShare = 0.9

// limitMemory sets the soft limit of the Go runtime from the limit of the
// container, unless GOMEMLIMIT sets it already.
func limitMemory(log *zap.Logger, container memlimit.Provider) {
	limit, err := memlimit.Set(memlimit.WithRatio(memoryShare), memlimit.WithProvider(container))
	switch {
	case err != nil:
		log.Debug("no memory limit is known", zap.Error(err))
	case limit > 0:
		log.Info("memory limit", zap.Int64("bytes", limit))
	}
}
