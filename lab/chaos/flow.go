package chaos

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tandem-autoscaler/tandem/lab/scenario"
)

// work is a program that is run again and again on one RayCluster.
type work struct {
	name, cluster, script string
	args                  []string
	timeout, rest         time.Duration
}

// flow is what goes on all the time: small jobs on both RayClusters, and on one
// of them an actor that never rests.
func flow() []work {
	return []work{
		{"lead", clusterLead, "tasks.py", []string{"--task", "1:1:1", "--task", "8:0:1", "--seconds", "2"}, 75 * time.Second, 12 * time.Second},
		{"follow", clusterFollow, "tasks.py", []string{"--task", "8:0:1", "--seconds", "2"}, 75 * time.Second, 15 * time.Second},
		{"actor", clusterLead, "hold.py", []string{"60"}, 150 * time.Second, 20 * time.Second},
	}
}

// startFlow keeps the work going until the context ends. A driver that loses
// its cluster to a fault is followed by the next.
func (c *Run) startFlow(ctx context.Context) {
	for _, w := range flow() {
		c.flow.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				_ = c.drive(ctx, w, n, true) // How it ends is in the report.
				pause(ctx, w.rest)
			}
		})
	}
}

func (c *Run) drive(ctx context.Context, w work, n int, anyExit bool) error {
	return c.run.RunDriver(ctx, &scenario.Driver{
		Name: fmt.Sprintf("%s-%d", w.name, n), RayCluster: w.cluster, Script: filepath.Join(c.drivers, w.script), Args: w.args,
		Timeout: metav1.Duration{Duration: w.timeout}, AnyExit: anyExit, ExpectOutput: map[bool]string{false: "RESULT ok"}[anyExit],
	})
}

var errTime = errors.New("time is up")

// lastDriver runs a job until one ends well. Its head may still be coming up
// after the last fault, so not every try has to.
func (c *Run) lastDriver(ctx context.Context, cluster string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, w := range flow() {
		if w.cluster != cluster {
			continue
		}
		w.name += "-last"
		err := errTime
		for n := 1; ctx.Err() == nil; n++ {
			if err = c.drive(ctx, w, n, false); err == nil && ctx.Err() == nil {
				return nil
			}
			pause(ctx, 2*time.Second)
		}
		return errors.Join(err, errTime)
	}
	return nil
}
