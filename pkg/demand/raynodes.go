package demand

import (
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/demand/gcs/autoscalerpb"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

const (
	whatNode = "Ray node"
	// maxIdle is a century: more is no duration that a raylet can have counted.
	maxIdle = 100 * 365 * 24 * time.Hour
	// Bounds of what is kept of one node, for people.
	maxActivity = 16
	maxLabels   = 256
	maxGangs    = 1024
)

// rayNodes converts raylets, dead ones included, and gives their addresses by
// id. Sorted by id.
func rayNodes(in []*autoscalerpb.NodeState, l Limits, left tally) ([]planner.RayNode, map[string]string) {
	byID := make(map[string]*autoscalerpb.NodeState, len(in))
	for _, n := range in {
		id := hex.EncodeToString(n.GetNodeId())
		switch {
		case id == "" || len(id) > maxName:
			left.add(whatNode, "its id is empty or too long", 1)
		case byID[id] != nil:
			left.add(whatNode, "its id is listed already", 1)
		default:
			byID[id] = n
		}
	}
	ids := slices.Sorted(maps.Keys(byID))
	if len(ids) > l.Nodes {
		left.add(whatNode, fmt.Sprintf("truncated: more than %d", l.Nodes), int64(len(ids)-l.Nodes))
		ids = ids[:l.Nodes]
	}
	if len(ids) == 0 {
		return nil, nil
	}
	out := make([]planner.RayNode, 0, len(ids))
	addresses := make(map[string]string, len(ids))
	for _, id := range ids {
		out = append(out, rayNode(id, byID[id], left))
		if ip, err := netip.ParseAddr(byID[id].GetNodeIpAddress()); err == nil {
			addresses[id] = ip.String()
		}
	}
	return out, addresses
}

func rayNode(id string, in *autoscalerpb.NodeState, left tally) planner.RayNode {
	out := planner.RayNode{
		ID:     id,
		Pod:    nameOrNothing("instance id", in.GetInstanceId(), left),
		Group:  nameOrNothing("node type", in.GetRayNodeTypeName(), left),
		Status: statusOf(in.GetStatus()),
		Head:   in.GetTotalResources()[headMarker] > 0,
		Labels: labels(in.GetLabels(), left),
	}
	if out.Status != planner.RayNodeDead {
		out.Total = nodeResources(in.GetTotalResources(), false, left)
		out.Available = nodeResources(in.GetAvailableResources(), true, left)
		for name, v := range out.Available {
			out.Available[name] = min(v, out.Total[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.GetDynamicLabels())) {
		if gang, ok := strings.CutPrefix(name, gangLabel); ok && isGangID(gang) && len(out.Gangs) < maxGangs {
			out.Gangs = append(out.Gangs, gang)
		}
	}
	switch idle := in.GetIdleDurationMs(); {
	case idle < 0 || idle > maxIdle.Milliseconds():
		left.add(whatNode, "its idle time is negative or absurdly long: taken as zero", 1)
	default:
		out.IdleFor = planner.Duration(time.Duration(idle) * time.Millisecond)
	}
	// On a node that is idle, Ray leaves the reasons for which it last was not.
	if out.Status == planner.RayNodeRunning {
		for _, a := range in.GetNodeActivity()[:min(maxActivity, len(in.GetNodeActivity()))] {
			out.Activity = append(out.Activity, clip(a, maxName))
		}
	}
	return out
}

func statusOf(s autoscalerpb.NodeStatus) planner.RayNodeStatus {
	switch s {
	case autoscalerpb.NodeStatus_RUNNING:
		return planner.RayNodeRunning
	case autoscalerpb.NodeStatus_IDLE:
		return planner.RayNodeIdle
	case autoscalerpb.NodeStatus_DRAINING:
		return planner.RayNodeDraining
	case autoscalerpb.NodeStatus_DEAD:
		return planner.RayNodeDead
	case autoscalerpb.NodeStatus_UNSPECIFIED:
		return planner.RayNodeUnknown
	default:
		return planner.RayNodeUnknown
	}
}

// nodeResources keeps the ordinary resources of a node. Available ones may be
// below zero: a raylet overdraws its CPUs when a blocked task goes on.
func nodeResources(in map[string]float64, available bool, left tally) planner.Resources {
	out := make(planner.Resources, len(in))
	for name, v := range in {
		if kindOfName(name) != nameOrdinary {
			continue
		}
		if !validName(name) {
			left.add("resource of a Ray node", fmt.Sprintf("the name %q is too long or has characters that are not allowed", clip(name, 40)), 1)
			continue
		}
		if available && v < 0 {
			v = 0
		}
		n, err := amount(name, v, down)
		if err != nil {
			left.add("resource of a Ray node", err.Error(), 1)
			continue
		}
		if n > 0 {
			out[name] = n
		}
	}
	return out
}

func labels(in map[string]string, left tally) map[string]string {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]string, len(in))
	for _, k := range slices.Sorted(maps.Keys(in)) {
		if !validName(k) || !validText(in[k]) || len(out) == maxLabels {
			left.add("label of a Ray node", fmt.Sprintf("%q is one too many, too long or has characters that are not allowed", clip(k, 40)), 1)
			continue
		}
		out[k] = in[k]
	}
	return out
}

func nameOrNothing(what, s string, left tally) string {
	if !validText(s) {
		left.add(what+" of a Ray node", fmt.Sprintf("%q is too long or has characters that are not allowed", clip(s, 40)), 1)
		return ""
	}
	return s
}
