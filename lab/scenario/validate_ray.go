package scenario

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func (s *Scenario) validateRayClusters(p *problems, n names) {
	ports := map[int32]string{}
	for i := range s.RayClusters {
		c := &s.RayClusters[i]
		path := fmt.Sprintf("rayClusters[%d]", i)
		p.name(path+".name", c.Name)
		p.name(path+".namespace", c.Namespace)
		p.unique(path+".name", c.key(), n.clusters)
		p.duration(path+".at", c.At)
		p.duration(path+".updateInterval", c.UpdateInterval)
		p.duration(path+".idleTimeout", c.IdleTimeout)
		if c.Mode != "" {
			p.oneOf(path+".mode", c.Mode, "follow", "lead", "off")
		}
		p.oneOf(path+".inTree", c.InTree, inTreeLive, inTreeInert, inTreeAbsent)
		if c.InTree != inTreeLive && c.UpdateInterval.Duration != 0 {
			p.add(path+".updateInterval", "needs inTree: live")
		}
		// The two ports that follow from it lie 2000 and 2100 above.
		p.number(path+".port", int64(c.Port), 6300, 6399)
		if other, taken := ports[c.Port]; taken {
			p.add(path+".port", "%d is the port of %s already; all heads share one host", c.Port, other)
		}
		ports[c.Port] = c.key()
		p.positive(path+".head.cpu", c.Head.CPU)
		p.positive(path+".head.memory", c.Head.Memory)
		p.number(path+".head.rayCPU", c.Head.RayCPU, 0, 4096)
		seen := map[string]bool{}
		for j := range c.Groups {
			g := &c.Groups[j]
			at := fmt.Sprintf("%s.groups[%d]", path, j)
			p.unique(at+".name", g.Name, seen)
			n.groups[c.key()+"/"+g.Name] = true
			g.validate(p, at)
		}
	}
}

func (g *Group) validate(p *problems, path string) {
	p.name(path+".name", g.Name)
	p.positive(path+".cpu", g.CPU)
	p.positive(path+".memory", g.Memory)
	p.number(path+".gpu", g.GPU, 0, 64)
	p.number(path+".min", int64(g.Min), 0, 1000)
	p.number(path+".max", int64(g.Max), int64(g.Min), 1000)
	p.number(path+".replicas", int64(g.Replicas), int64(g.Min), int64(g.Max))
	p.duration(path+".idleTimeout", g.IdleTimeout)
	for _, name := range slices.Sorted(maps.Keys(g.Resources)) {
		if x, err := strconv.ParseFloat(g.Resources[name], 64); err != nil || !(x >= 0 && x < 1e12) {
			p.add(path+".resources."+name, "%q is not a decimal that is zero or more", g.Resources[name])
		}
	}
}

func (o *Object) validate(p *problems, path string) {
	p.duration(path+".at", o.At)
	p.oneOf(path+".cluster", o.Cluster, clusterManagement, clusterWorkload)
	p.number(path+".copies", int64(o.Copies), 0, maxCopies)
	if _, err := o.decode(); err != nil {
		p.add(path+".object", "%w", err)
	}
}

// decode reads the object; it must say what it is and have a name.
func (o *Object) decode() (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(o.Object.Raw, &u.Object); err != nil {
		return nil, err
	}
	if u.GetAPIVersion() == "" || u.GetKind() == "" || u.GetName() == "" {
		return nil, errors.New("apiVersion, kind and metadata.name are needed")
	}
	return u, nil
}

func (f *Fault) validate(p *problems, path string, n names) {
	p.duration(path+".delay", f.Delay)
	p.duration(path+".restartAfter", f.RestartAfter)
	if (f.At == nil) == (f.AfterEvent == nil) {
		p.add(path, "one of at and afterEvent is needed")
	}
	if f.At != nil {
		p.duration(path+".at", *f.At)
	}
	if f.AfterEvent != nil {
		f.AfterEvent.validate(p, path+".afterEvent", n)
	}
	switch f.Kind {
	case FaultKillCoordinator, FaultLoseLease:
	case FaultKillHead, FaultDeleteRayCluster:
		p.known(path+".rayCluster", "RayCluster", f.RayCluster, n.clusters)
	case FaultKillRaylet, FaultKillPod, FaultDeletePod:
		p.known(path+".rayCluster", "RayCluster", f.RayCluster, n.clusters)
		if f.Group != "" {
			p.known(path+".group", "worker group", f.RayCluster+"/"+f.Group, n.groups)
		}
	case FaultFailVMs, FaultStickVMs, FaultHealVMs:
		p.known(path+".class", "class", f.Class, n.classes)
		p.number(path+".count", int64(f.Count), 0, 10000)
		if f.Kind == FaultFailVMs && f.Message == "" {
			p.add(path+".message", "is needed")
		}
	case FaultDeleteMachine:
		p.known(path+".pool", "pool", f.Pool, n.pools)
	case FaultRestartAPIServer:
		p.oneOf(path+".cluster", f.Cluster, clusterManagement, clusterWorkload)
	case FaultPatchObject:
		p.oneOf(path+".cluster", f.Cluster, clusterManagement, clusterWorkload)
		if f.Object == nil || f.Object.APIVersion == "" || f.Object.Kind == "" || f.Object.Name == "" {
			p.add(path+".object", "apiVersion, kind and name are needed")
		}
		if f.Patch == nil || len(f.Patch.Raw) == 0 {
			p.add(path+".patch", "is needed")
		}
	default:
		p.add(path+".kind", "%q is not a kind of fault", f.Kind)
	}
}

func (e *AfterEvent) validate(p *problems, path string, n names) {
	p.number(path+".count", int64(e.Count), 1, 10000)
	switch e.Event {
	case EventDriverStarted, EventDriverEnded:
		p.known(path+".driver", "driver", e.Driver, n.drivers)
	case EventDriverPrinted:
		p.known(path+".driver", "driver", e.Driver, n.drivers)
		if e.Text == "" {
			p.add(path+".text", "is needed")
		}
	case EventDemandVisible, EventPodsReady:
		p.known(path+".rayCluster", "RayCluster", e.RayCluster, n.clusters)
	case EventPatched, EventShrunk:
		if e.Pool != "" {
			p.known(path+".pool", "pool", e.Pool, n.pools)
		}
	case EventNodesReady:
		p.known(path+".pool", "pool", e.Pool, n.pools)
	case EventNodeCordoned, EventMachineMarked, EventCountedPods:
	default:
		p.add(path+".event", "%q is not an event", e.Event)
	}
}

func (e *Expect) validate(p *problems, n names) {
	pools := func(field string, keys []string) {
		for _, k := range keys {
			p.known("expect."+field, "pool", k, n.pools)
		}
	}
	pools("boughtPerPool", slices.Sorted(maps.Keys(e.BoughtPerPool)))
	pools("patchesPerPool", slices.Sorted(maps.Keys(e.PatchesPerPool)))
	pools("maxReplicasPerPool", slices.Sorted(maps.Keys(e.MaxReplicasPerPool)))
	pools("neverBought", e.NeverBought)
	pools("removedPerPool", slices.Sorted(maps.Keys(e.RemovedPerPool)))
	for _, d := range slices.Sorted(maps.Keys(e.RemovedAfterDriverEnd)) {
		p.known("expect.removedAfterDriverEnd", "driver", d, n.drivers)
	}
	e.validateSteps(p)
	for _, d := range slices.Sorted(maps.Keys(e.RemovedBeforeDriverEnd)) {
		p.known("expect.removedBeforeDriverEnd", "driver", d, n.drivers)
	}
	if e.DemandToPatchSeconds != nil && !(*e.DemandToPatchSeconds > 0) {
		p.add("expect.demandToPatchSeconds", "%v is not above zero", *e.DemandToPatchSeconds)
	}
}

func (e *Expect) validateSteps(p *problems) {
	for _, kind := range slices.Concat(slices.Sorted(maps.Keys(e.StepsSeen)), e.StepsNeverSeen, e.RemovedInOrder) {
		p.oneOf("expect.steps", kind, steps()...)
	}
	if e.IdleToDeletedSeconds != nil && !(*e.IdleToDeletedSeconds > 0) {
		p.add("expect.idleToDeletedSeconds", "%v is not above zero", *e.IdleToDeletedSeconds)
	}
}

// steps are the kinds of steps that a plan may have.
func steps() []string {
	return []string{
		string(planner.StepGrow), string(planner.StepGrowWorkers), string(planner.StepCordon), string(planner.StepUncordon),
		string(planner.StepRemove), string(planner.StepUnmark), string(planner.StepSoftTaint), string(planner.StepSoftUntaint),
		string(planner.StepDrain), string(planner.StepShrinkWorkers), string(planner.StepClearWorkers), string(planner.StepReplaceWorker),
		string(planner.StepEvict), string(planner.StepHook), string(planner.StepReleaseHook), string(planner.StepRemember),
	}
}

func (c *Coordinator) validate(p *problems, n names) {
	p.number("coordinator.instances", int64(c.Instances), 1, 4)
	if c.AfterEvent != nil {
		c.AfterEvent.validate(p, "coordinator.afterEvent", n)
	}
}
