package chaos

import (
	"math/rand/v2"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tandem-autoscaler/tandem/lab/scenario"
)

// The RayClusters, pools and classes of base.yaml.
const (
	clusterLead   = "default/lead"
	clusterFollow = "default/follow"

	management = "management"
	workload   = "workload"
)

// card is one fault to come.
type card struct {
	scenario.Fault

	trick trick         // for faults of a proxy; Cluster says of which
	count int           // writes that it hits
	delay time.Duration // of each
	pause time.Duration // from here to the next fault
}

// deck deals faults by a seed. Each round through the deck has every kind, the
// heavier ones less often.
type deck struct {
	rng   *rand.Rand
	cards []func(*rand.Rand) card
	left  []func(*rand.Rand) card
}

func newDeck(seed uint64) *deck {
	d := &deck{rng: rand.New(rand.NewPCG(seed, 0x7a6e64656d))} //nolint:gosec // Repeatable, not secret.
	add := func(times int, f func(*rand.Rand) card) {
		for range times {
			d.cards = append(d.cards, f)
		}
	}
	plain := func(f scenario.Fault) func(*rand.Rand) card {
		return func(*rand.Rand) card { return card{Fault: f} }
	}
	add(3, func(r *rand.Rand) card {
		return card{Fault: scenario.Fault{Kind: scenario.FaultKillCoordinator, RestartAfter: metav1.Duration{Duration: between(r, 0, 2*time.Second)}}}
	})
	add(2, plain(scenario.Fault{Kind: scenario.FaultLoseLease}))
	for _, c := range []string{clusterLead, clusterFollow} {
		add(1, plain(scenario.Fault{Kind: scenario.FaultKillHead, RayCluster: c}))
		add(1, plain(scenario.Fault{Kind: scenario.FaultKillRaylet, RayCluster: c}))
		add(1, plain(scenario.Fault{Kind: scenario.FaultKillPod, RayCluster: c}))
		add(2, plain(scenario.Fault{Kind: scenario.FaultDeletePod, RayCluster: c}))
	}
	for _, c := range []string{management, workload} {
		add(1, plain(scenario.Fault{Kind: scenario.FaultRestartAPIServer, Cluster: c}))
		for _, t := range []trick{trickDelay, trickFail, trickConflict, trickDrop} {
			add(1, func(r *rand.Rand) card {
				return card{Fault: scenario.Fault{Kind: string(t), Cluster: c}, trick: t, count: 1 + r.IntN(3), delay: between(r, time.Second, 4*time.Second)}
			})
		}
	}
	for _, class := range []string{"cpu-large", "gpu-x1"} {
		add(1, plain(scenario.Fault{Kind: scenario.FaultFailVMs, Class: class, Count: 1, Message: "insufficient resources: the lab has no host for it"}))
		add(1, plain(scenario.Fault{Kind: scenario.FaultStickVMs, Class: class, Count: 1}))
	}
	for _, pool := range []string{"cpu", "gpu1"} {
		add(1, plain(scenario.Fault{Kind: scenario.FaultDeleteMachine, Pool: pool}))
	}
	return d
}

// deal is the next fault.
func (d *deck) deal() card {
	if len(d.left) == 0 {
		d.left = append(d.left, d.cards...)
		d.rng.Shuffle(len(d.left), func(i, j int) { d.left[i], d.left[j] = d.left[j], d.left[i] })
	}
	f := d.left[0]
	d.left = d.left[1:]
	c := f(d.rng)
	c.pause = between(d.rng, 1500*time.Millisecond, 7*time.Second)
	return c
}

func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}
