package rayv2

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// terminateOutdated condemns nodes whose type is gone or has another launch
// configuration. Ray compares a pending instance as if it had no hash, so with
// the check on, every pending instance of a type with a hash is outdated.
func (s *scheduler) terminateOutdated() {
	if s.in.DisableLaunchConfigCheck {
		return
	}
	for _, n := range s.nodes {
		if n.status != schedulable || n.st.kind == KindHead {
			continue
		}
		nt := s.typeOf[n.st.typ]
		if nt == nil || nt.LaunchHash != "" && nt.LaunchHash != n.hash {
			n.status, n.cause = toTerminate, CauseOutdated
		}
	}
}

// countByType counts the nodes that are not condemned.
func (s *scheduler) countByType() map[int]int64 {
	count := map[int]int64{}
	for _, n := range s.nodes {
		if n.status != toTerminate {
			count[n.st.typ]++
		}
	}
	return count
}

// addMinimum puts new nodes in front for types below their minimum size.
func (s *scheduler) addMinimum() {
	count := s.countByType()
	var added []*node
	for i := range s.types {
		nt := &s.types[i]
		missing := nt.Min - count[nt.id]
		if missing <= 0 {
			continue
		}
		n := newNode(nt.fresh)
		for range missing {
			added = append(added, &n)
		}
	}
	s.nodes = append(added, s.nodes...)
}

// limitTypes condemns nodes above their type's maximum, the head never.
func (s *scheduler) limitTypes() error {
	var condemned []*node
	var order []int
	byType := map[int][]*node{}
	for _, n := range s.nodes {
		if n.status == toTerminate {
			condemned = append(condemned, n)
			continue
		}
		if _, ok := byType[n.st.typ]; !ok {
			order = append(order, n.st.typ)
		}
		byType[n.st.typ] = append(byType[n.st.typ], n)
	}
	var kept []*node
	for _, typ := range order {
		nt := s.typeOf[typ]
		if nt == nil {
			return roundFails(fmt.Errorf("a running node's type %q is not configured", s.syms.names[typ]))
		}
		nodes := byType[typ]
		if extra := int64(len(nodes)) - nt.Max; extra > 0 {
			var out []*node
			out, nodes = condemn(nodes, extra, CauseMaxPerType)
			condemned = append(condemned, out...)
		}
		kept = append(kept, nodes...)
	}
	s.nodes = slices.Concat(condemned, kept)
	return nil
}

// errLimit is Ray's assertion that it found enough nodes to terminate.
var errLimit = errors.New("there are too few nodes to terminate for the cluster's maximum")

// limitCluster condemns nodes above the cluster's maximum. A maximum of zero
// is no maximum here.
func (s *scheduler) limitCluster() error {
	if s.in.MaxNodes == nil || *s.in.MaxNodes == 0 {
		return nil
	}
	condemned, kept := make([]*node, 0, len(s.nodes)), make([]*node, 0, len(s.nodes))
	for _, n := range s.nodes {
		if n.status == toTerminate {
			condemned = append(condemned, n)
		} else {
			kept = append(kept, n)
		}
	}
	extra := int64(len(kept)) - *s.in.MaxNodes
	if extra <= 0 {
		return nil
	}
	out, kept := condemn(kept, extra, CauseMaxNodes)
	if int64(len(out)) != extra {
		return roundFails(errLimit)
	}
	s.nodes = slices.Concat(condemned, out, kept)
	return nil
}

// condemn splits nodes into those to terminate and the others, the head last.
// Where several places of the list are one node that does not exist yet, all
// of them go when one goes.
func condemn(nodes []*node, count int64, cause Cause) (out, kept []*node) {
	sorted := byTermination(nodes)
	head := slices.IndexFunc(sorted, func(n *node) bool { return n.st.kind == KindHead })
	var last []*node
	if head >= 0 {
		last = []*node{sorted[head]}
		sorted = slices.Delete(sorted, head, head+1)
	}
	k := min(count, int64(len(sorted)))
	out = sorted[:k:k]
	for _, n := range out {
		n.status, n.cause = toTerminate, cause
	}
	return out, append(slices.Clone(sorted[k:]), last...)
}

// byTermination sorts nodes by how soon Ray would part with them: those
// without Ray first, then the longest idle, then the least used.
func byTermination(nodes []*node) []*node {
	sorted := slices.Clone(nodes)
	slices.SortStableFunc(sorted, func(a, b *node) int {
		if c := cmp.Compare(boolNumber(a.rayNodeID != ""), boolNumber(b.rayNodeID != "")); c != 0 {
			return c
		}
		if c := cmp.Compare(b.idle, a.idle); c != 0 {
			return c
		}
		return cmp.Compare(a.st.averageUse(), b.st.averageUse())
	})
	return sorted
}

// terminateIdle condemns nodes that are idle for longer than their timeout,
// that nothing was placed on, and that their type's minimum can spare. Queued,
// allocated and installing instances have a timeout of their own in Ray, which
// is off unless it is asked for and is not modelled.
func (s *scheduler) terminateIdle() {
	idle := make([]*node, 0, len(s.nodes))
	for _, n := range s.nodes {
		if s.idleTooLong(n) && !n.st.inUse() {
			idle = append(idle, n)
		}
	}
	if len(idle) == 0 {
		return
	}
	count := s.countByType()
	for _, n := range byTermination(idle) {
		low := int64(0)
		if nt := s.typeOf[n.st.typ]; nt != nil {
			low = nt.Min
		}
		if count[n.st.typ] <= low {
			continue
		}
		count[n.st.typ]--
		n.status, n.cause = toTerminate, CauseIdle
	}
}

// idleTooLong tells whether a node has been idle for longer than its timeout.
func (s *scheduler) idleTooLong(n *node) bool {
	if n.status != schedulable || n.st.kind == KindHead {
		return false
	}
	switch n.im {
	case StatusQueued, StatusAllocated, StatusRayInstalling:
		return false
	case StatusRequested, StatusRayRunning, StatusStopRequested:
	}
	timeout := s.in.IdleTimeoutSeconds
	if nt := s.typeOf[n.st.typ]; nt != nil && nt.IdleTimeoutSeconds != nil {
		timeout = nt.IdleTimeoutSeconds
	}
	return timeout != nil && float64(n.idle) > *timeout*1000
}
