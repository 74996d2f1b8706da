package chaos

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tandem-autoscaler/tandem/lab/report"
	"github.com/tandem-autoscaler/tandem/lab/scenario"
)

//go:embed base.yaml
var base []byte

const (
	// patience is how long a driver has after the last fault, and then the
	// worker Machines to go.
	patience = 4 * time.Minute
	// headRest is how long a RayCluster is left in peace after its head was
	// killed: it takes that long to be whole again.
	headRest = 75 * time.Second
	// armTime is how long a trick waits for writes.
	armTime = 30 * time.Second
)

// Run is one run. Its methods are hooks for a scenario's run.
type Run struct {
	wanted  int
	dir     string
	drivers string // directory of the programs
	deck    *deck
	proxies map[string]*proxy
	flow    sync.WaitGroup

	run   *scenario.Run
	start time.Time

	mu     sync.Mutex
	result Result
	heads  map[string]time.Time // when a head was killed last
}

// New prepares n faults from a seed. The programs of the drivers are in the
// directory drivers; dir is for files of the run.
func New(n int, seed uint64, dir, drivers string) *Run {
	return &Run{
		wanted: n, dir: dir, drivers: drivers, deck: newDeck(seed), proxies: map[string]*proxy{}, heads: map[string]time.Time{},
		result: Result{Seed: seed, Wanted: n, Kinds: map[string]*Kind{}, Faults: []Injected{}, BusyNodesLost: []string{}, WronglyDeleted: []string{}, LeftStuck: []string{}},
	}
}

// Scenario is the scenario to run.
func (c *Run) Scenario() (*scenario.Scenario, error) {
	s, err := scenario.Parse(base, c.dir)
	if err != nil {
		return nil, fmt.Errorf("reading the scenario of chaos: %w", err)
	}
	s.Deadline = metav1.Duration{Duration: 2*patience + 5*time.Minute + time.Duration(c.wanted)*20*time.Second}
	return s, nil
}

// lab is a lab whose coordinator talks through proxies.
type lab struct {
	scenario.Lab
	chaos *Run
}

// Wrap puts the proxies between a lab and the coordinator.
func (c *Run) Wrap(l scenario.Lab) scenario.Lab { return lab{Lab: l, chaos: c} }

// Identity starts the proxies once and returns kubeconfigs that lead to them.
func (l lab) Identity(ctx context.Context) (toManagement, toWorkload string, err error) {
	m, w, err := l.Lab.Identity(ctx)
	if err != nil {
		return "", "", err
	}
	out := map[string]string{}
	for role, real := range map[string]string{management: m, workload: w} {
		p, err := newProxy(ctx, real)
		if err != nil {
			return "", "", err
		}
		l.chaos.proxies[role] = p
		out[role] = filepath.Join(l.chaos.dir, "proxy-"+role+".kubeconfig")
		if err := p.kubeconfig(out[role]); err != nil {
			return "", "", err
		}
	}
	return out[management], out[workload], nil
}

// Close ends the proxies.
func (c *Run) Close() {
	for _, p := range c.proxies {
		p.close()
	}
}

// Result is the verdict on the finished report of the scenario.
func (c *Run) Result(rep report.Report) *Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.result.judge(rep)
	return &c.result
}

// Meanwhile injects the faults while drivers come and go, heals everything and
// waits for the end. It runs beside a scenario.
func (c *Run) Meanwhile(ctx context.Context, run *scenario.Run) error {
	c.run, c.start = run, run.Recorder().Start()
	working, rest := context.WithCancel(ctx)
	defer rest()
	c.startFlow(working)
	if !c.waitForHeads(ctx) {
		return ctx.Err()
	}
	err := c.injectAll(ctx)
	c.heal()
	rest()
	c.flow.Wait()
	if err != nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	c.note("the last fault is injected and everything is healed; a driver must run on each RayCluster, and all Machines must go")
	for _, cluster := range []string{clusterLead, clusterFollow} {
		if err := c.lastDriver(ctx, cluster); err != nil {
			c.stuck("no driver ran on %s within %s after the last fault: %v", cluster, patience, err)
		}
	}
	c.waitForVacancy(ctx)
	return ctx.Err()
}

func (c *Run) waitForHeads(ctx context.Context) bool {
	return wait(ctx, func() bool {
		_, lead := c.run.Lab().RayAddress("default", "lead")
		_, follow := c.run.Lab().RayAddress("default", "follow")
		return lead && follow
	})
}

// injectAll deals faults until enough of them took effect.
func (c *Run) injectAll(ctx context.Context) error {
	for tries := 0; c.count() < c.wanted && ctx.Err() == nil; tries++ {
		if tries > 20*c.wanted+100 {
			return fmt.Errorf("only %d of %d faults found something to happen to", c.count(), c.wanted)
		}
		next := c.deck.deal()
		switch err := c.inject(ctx, next); {
		case errors.Is(err, scenario.ErrNoTarget):
			c.mu.Lock()
			c.result.kind(next.Kind).Nothing++
			c.mu.Unlock()
			next.pause /= 8
		case err != nil && ctx.Err() == nil:
			// The world is full of faults: this one may have met another.
			c.note(fmt.Sprintf("%s was not possible: %v", next.Kind, err))
		}
		pause(ctx, next.pause)
	}
	return nil
}

func (c *Run) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.result.Faults)
}

// inject does one fault. A trick counts when it hits its first write.
func (c *Run) inject(ctx context.Context, next card) error {
	if next.trick != "" {
		p, ok := c.proxies[next.Cluster]
		if !ok {
			return errNoProxy
		}
		var once sync.Once
		p.arm(armed{trick: next.trick, left: next.count, delay: next.delay, until: time.Now().Add(armTime), hit: func(what string) {
			once.Do(func() { c.injected(next.Kind, next.Cluster+": "+what) })
		}})
		return nil
	}
	if next.Kind == scenario.FaultKillHead {
		c.mu.Lock()
		early := time.Since(c.heads[next.RayCluster]) < headRest
		c.mu.Unlock()
		if early {
			return scenario.ErrNoTarget
		}
	}
	target, err := c.run.Inject(ctx, &next.Fault)
	if err != nil {
		return err
	}
	if next.Kind == scenario.FaultKillHead {
		c.mu.Lock()
		c.heads[next.RayCluster] = time.Now()
		c.mu.Unlock()
	}
	c.injected(next.Kind, target)
	return nil
}

// injected counts a fault that took effect.
func (c *Run) injected(kind, target string) {
	now := time.Now()
	c.mu.Lock()
	n := len(c.result.Faults) + 1
	c.result.Faults = append(c.result.Faults, Injected{Kind: kind, Target: target, At: now.Sub(c.start).Seconds()})
	c.mu.Unlock()
	c.run.Recorder().FaultInjected(now, kind, fmt.Sprintf("%s (%d of %d)", target, n, c.wanted), nil)
}

// heal ends every fault that lasts.
func (c *Run) heal() {
	for _, p := range c.proxies {
		p.heal()
	}
	for _, class := range []string{"cpu-large", "gpu-x1"} {
		c.run.Lab().FailVMs(class, 0, "")
		c.run.Lab().StickVMs(class, 0)
	}
}

// waitForVacancy waits until no worker Machine is left, and tells what is.
func (c *Run) waitForVacancy(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	left := func() int { return c.run.Recorder().Facts().WorkerMachines }
	if !wait(ctx, func() bool { return left() == 0 }) {
		c.stuck("%d worker Machines are left %s after the last driver: %s", left(), patience, c.run.Recorder().State())
		return
	}
	if n := c.run.Recorder().Facts().CordonedNodes; n > 0 {
		c.stuck("%d nodes are left cordoned", n)
	}
}

func (c *Run) stuck(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	c.mu.Lock()
	c.result.LeftStuck = append(c.result.LeftStuck, text)
	c.mu.Unlock()
	c.note("LEFT STUCK: " + text)
}

func (c *Run) note(text string) {
	c.run.Recorder().Note(time.Now(), report.KindNote, "", text)
}

// wait waits for a condition; it is false if the context ends first.
func wait(ctx context.Context, condition func() bool) bool {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// pause waits, or less if the context ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
