package coordinator_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// What the stand-ins go by.
const (
	nodeSize      = 4000 // milli-CPU
	appSize       = 500
	idleTimeout   = 30 * time.Second
	vacantHold    = 20 * time.Second
	drainDeadline = 2 * time.Minute
	unreachable   = 3 * time.Minute
	// rayReacts is how long Ray's own autoscaler takes to ask for a pod.
	rayReacts = 10 * time.Second
	// youngMark is how old a delete mark must be to be taken back.
	youngMark = 15 * time.Second
	// noRepeat is how long what was granted for good is not asked again.
	noRepeat = 15 * time.Second
	// lags is how long a source shows what was, silent how long it shows nothing:
	// longer than any hold.
	lags   = 12 * time.Second
	silent = 50 * time.Second
	// settled is how long before its end a run must have come to rest.
	settled = time.Minute
)

// rig is a small cluster that answers as the real parts do: Ray, its operator, the
// scheduler, a ReplicaSet and Cluster API act by themselves between any two calls,
// and every write checks its precondition against what is true, not against what
// was seen. Whatever takes a Ray node away that works fails the test.
type rig struct {
	t    *testing.T
	tale tale

	mu sync.Mutex
	state
	// before is asked before the write with this number (from 1), after it after.
	before, after func(write int) error
	views         map[planner.SourceKind]planner.Snapshot // what is shown in place of the truth
	unknown       planner.SourceKind                      // what cannot be read
	unknownFrom   int                                     // in ticks after this one
	// dead tells that the process has ended, pause how long the next tick is late.
	dead  bool
	pause time.Duration
}

// state is all that the cluster is, and how far its tale has been told.
type state struct {
	began   time.Time
	told    int  // events
	twisted bool // what the tale twists has been twisted

	made     int
	groups   []rigGroup
	machines map[string]*rigMachine
	pods     map[string]*rigPod
	workers  int64
	named    []string
	apps     int64 // pods that a ReplicaSet keeps
	guarded  bool  // a disruption budget forbids their eviction
	waiting  int64 // requests that no Ray node serves yet
	asked    time.Time
	served   int64

	ticks, attempts int
	last            time.Time            // attempt
	accepted        map[string]time.Time // what this process was granted for good
	writes          []rigWrite
}

type rigGroup struct {
	name          string
	price         int64
	replicas, max int64
	broken        bool // its Machines never become Nodes
	rests         []planner.Backoff
}

type rigMachine struct {
	group          string
	created        time.Time
	joined         bool
	hook, release  bool
	cordon, mark   *planner.Mark
	soft           *planner.Mark
	deleting, lost time.Time // since when it is being deleted, and its Node unreachable
	vacant         time.Time // since when no pod is on its Node
}

type rigPod struct {
	uid, node string
	app       bool // a ReplicaSet's
	leaving   bool // deleted, and no kubelet says that it has ended
	size      int64
	status    planner.RayNodeStatus
	since     time.Time
}

// working tells of a Ray node that must not be lost; one that drains before its
// Machine goes works until its work is done.
func (p *rigPod) working() bool {
	return p.status == planner.RayNodeRunning || p.status == planner.RayNodeDraining
}

// rigWrite is a step that was taken, in which tick and as which attempt. views and
// after are what was true of every source before it and after it, in the undisturbed
// run.
type rigWrite struct {
	verb          string
	at            time.Time
	tick, attempt int
	views, after  map[planner.SourceKind]string
}

// clone is a copy that shares nothing that changes.
func (s *state) clone() state {
	c := *s
	c.groups, c.named, c.accepted, c.writes = slices.Clone(s.groups), slices.Clone(s.named), maps.Clone(s.accepted), slices.Clone(s.writes)
	c.machines, c.pods = map[string]*rigMachine{}, map[string]*rigPod{}
	for name, m := range s.machines {
		own := *m
		c.machines[name] = &own
	}
	for name, p := range s.pods {
		own := *p
		c.pods[name] = &own
	}
	return c
}

// newRig is three Nodes with a Ray worker each, one of which works.
func newRig(t *testing.T, tl tale) *rig {
	t.Helper()
	r := &rig{t: t, tale: tl, views: map[planner.SourceKind]planner.Snapshot{}, state: state{
		began: time.Now(), machines: map[string]*rigMachine{}, pods: map[string]*rigPod{}, workers: 3, accepted: map[string]time.Time{},
		groups: []rigGroup{{name: "cpu", price: 1, replicas: 3, max: 5}, {name: "alt", price: 2, max: 5}},
	}}
	r.clusterAPI()
	for i, name := range slices.Sorted(maps.Keys(r.machines)) {
		r.machines[name].created = r.began.Add(-time.Hour)
		p := r.worker()
		p.node, p.status, p.since = name, planner.RayNodeIdle, r.began
		if i == 0 {
			p.status = planner.RayNodeRunning // an actor that runs for long
		}
	}
	if tl.begin != nil {
		tl.begin(r)
	}
	r.act()
	return r
}

func (r *rig) worker() *rigPod {
	size := r.tale.worker
	if size == 0 {
		size = nodeSize
	}
	return r.pod("w", &rigPod{size: size})
}

func (r *rig) pod(prefix string, p *rigPod) *rigPod {
	r.made++
	name := fmt.Sprintf("%s%03d", prefix, r.made)
	p.uid = "uid-" + name
	r.pods[name] = p
	return p
}

// act lets everybody else act.
func (r *rig) act() {
	r.clusterAPI()
	if r.tale.follow {
		r.autoscaler()
	}
	r.operator()
	if n := r.count(func(p *rigPod) bool { return p.app && !p.leaving }); n < r.apps {
		r.pod("a", &rigPod{size: appSize, app: true})
	}
	for _, name := range slices.Sorted(maps.Keys(r.pods)) {
		r.schedule(r.pods[name])
	}
	for name, m := range r.machines {
		switch {
		case r.podOn(name, func(string, *rigPod) bool { return true }) != "":
			m.vacant = time.Time{}
		case m.vacant.IsZero():
			m.vacant = time.Now()
		}
	}
}

func (r *rig) count(which func(*rigPod) bool) (n int64) {
	for _, p := range r.pods {
		if which(p) {
			n++
		}
	}
	return n
}

// alive counts the Machines of a group that are not being deleted.
func (r *rig) alive(group string) (n int64) {
	for _, m := range r.machines {
		if m.group == group && m.deleting.IsZero() {
			n++
		}
	}
	return n
}

// clusterAPI makes Machines, chooses those that are marked to go, and waits with a
// deletion for our hook. It does not cordon while it waits.
func (r *rig) clusterAPI() {
	for i := range r.groups {
		g := &r.groups[i]
		alive := r.alive(g.name)
		for ; alive < g.replicas; alive++ {
			r.made++
			r.machines[fmt.Sprintf("m%03d", r.made)] = &rigMachine{group: g.name, created: time.Now(), joined: !g.broken}
		}
		for _, name := range slices.Sorted(maps.Keys(r.machines)) {
			if m := r.machines[name]; alive > g.replicas && m.group == g.name && m.mark != nil && m.deleting.IsZero() {
				m.deleting = time.Now()
				alive--
			}
		}
		if alive > g.replicas {
			r.t.Errorf("Cluster API would choose a Machine of %s by itself: %d Machines, %d replicas", g.name, alive, g.replicas)
		}
	}
	for name, m := range r.machines {
		if !m.deleting.IsZero() && !m.hook {
			delete(r.machines, name)
			for pod, p := range r.pods {
				if p.node == name {
					r.gone(pod, "was on a Machine that went", m.release)
				}
			}
		}
	}
}

// autoscaler is Ray's own, in follow mode: it asks for pods that requests need, and
// takes back those that are idle or whose raylet has ended.
func (r *rig) autoscaler() {
	r.named = slices.DeleteFunc(r.named, func(n string) bool { return r.pods[n] == nil })
	if r.waiting > 0 && time.Since(r.asked) >= rayReacts {
		r.workers += max(0, r.waiting-r.count(func(p *rigPod) bool { return !p.app && p.node == "" }))
	}
	for _, name := range slices.Sorted(maps.Keys(r.pods)) {
		p := r.pods[name]
		idle := p.status == planner.RayNodeIdle && r.waiting == 0 && time.Since(p.since) >= idleTimeout
		if (idle || p.status == planner.RayNodeDead) && !slices.Contains(r.named, name) {
			r.named = append(r.named, name)
			r.workers--
		}
	}
}

// operator makes and deletes Ray's pods.
func (r *rig) operator() {
	for _, name := range r.named {
		r.end(name, "was named in workersToDelete")
	}
	counts := func(p *rigPod) bool { return !p.app && !p.leaving }
	for _, name := range slices.Sorted(maps.Keys(r.pods)) {
		if r.count(counts) > r.workers && counts(r.pods[name]) { // it deletes any pod then
			r.end(name, "was one too many")
		}
	}
	for r.count(counts) < r.workers {
		r.worker()
	}
}

// end deletes a pod; one on a Node that nobody reaches only begins to go.
func (r *rig) end(pod, why string) {
	if p := r.pods[pod]; p != nil && p.node != "" && !r.machines[p.node].lost.IsZero() {
		p.leaving = true
		return
	}
	r.gone(pod, why, false)
}

func (r *rig) gone(pod, why string, allowed bool) {
	if p := r.pods[pod]; p != nil && p.working() && !allowed {
		r.t.Errorf("pod %s worked and %s", pod, why)
	}
	delete(r.pods, pod)
}

func (r *rig) free(node string) int64 {
	free := int64(nodeSize)
	for _, p := range r.pods {
		if p.node == node {
			free -= p.size
		}
	}
	return free
}

// schedule binds a pod, starts its raylet, and gives that work.
func (r *rig) schedule(p *rigPod) {
	if p.node == "" {
		best := ""
		for _, name := range slices.Sorted(maps.Keys(r.machines)) {
			m := r.machines[name]
			if m.joined && m.cordon == nil && m.lost.IsZero() && r.free(name) >= p.size && (best == "" || r.machines[best].soft != nil && m.soft == nil) {
				best = name
			}
		}
		if p.node = best; best != "" && !p.app {
			p.status, p.since = planner.RayNodeIdle, time.Now()
		}
	}
	if p.status == planner.RayNodeIdle && r.waiting > 0 {
		r.waiting--
		r.served++
		p.status = planner.RayNodeRunning
	}
}

// finish ends all work; a raylet that drains ends with it.
func (r *rig) finish() {
	for _, p := range r.pods {
		switch p.status { //nolint:exhaustive // the others have no work
		case planner.RayNodeRunning:
			p.status, p.since = planner.RayNodeIdle, time.Now()
		case planner.RayNodeDraining:
			p.status = planner.RayNodeDead
		}
	}
}

func (r *rig) ask(n int64) {
	r.waiting, r.asked = r.waiting+n, time.Now()
}

// busy is the Machine on which the actor of the beginning works.
func (r *rig) busy() *rigMachine {
	for _, name := range slices.Sorted(maps.Keys(r.pods)) {
		if p := r.pods[name]; p.working() {
			return r.machines[p.node]
		}
	}
	r.t.Error("nothing works")
	return &rigMachine{}
}

// summary is what a run ends in, names of objects left out.
func (r *rig) summary() string {
	marks := 0
	for _, m := range r.machines {
		for _, set := range []bool{m.cordon != nil, m.mark != nil, !m.deleting.IsZero()} {
			if set {
				marks++
			}
		}
	}
	statuses := map[planner.RayNodeStatus]int{}
	apps := 0
	for _, p := range r.pods {
		switch {
		case !p.app:
			statuses[p.status]++
		case p.node != "":
			apps++
		}
	}
	replicas, rests := []int64{}, 0
	for _, g := range r.groups {
		replicas, rests = append(replicas, g.replicas), rests+len(g.rests)
	}
	return fmt.Sprintf("%d replicas, %d Machines, %d marks, %d rests, %d workers, pods %v and %d others, named %v, %d requests served, %d waiting",
		replicas, len(r.machines), marks, rests, r.workers, statuses, apps, r.named, r.served, r.waiting)
}
