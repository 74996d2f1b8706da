package demand

import (
	"fmt"
	"slices"
	"time"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Observe joins the latest RayClusters with the last settled state of each GCS.
// It never blocks and reads nothing. What is older than StaleAfter at the
// instant given is unknown. The result shares memory with later ones: it must
// not be changed.
func (s *Source) Observe(now time.Time) View {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := now.Sub(s.listed)
	ray := planner.Source{Kind: planner.SourceRay, Known: !s.listed.IsZero() && age <= s.o.StaleAfter}
	if !s.listed.IsZero() {
		ray.Age = planner.Duration(max(0, age))
	}
	if s.listErr != nil {
		ray.Error = clip(s.listErr.Error(), maxError)
	}
	view := View{Sources: []planner.Source{ray}, Clusters: make([]planner.RayCluster, 0, len(s.clusters))}
	for i := range s.clusters {
		c := s.clusters[i].RayCluster
		s.judge(&s.clusters[i], &c, now)
		if c.Invalid == "" && s.clusters[i].wantsDemand() {
			view.Sources = append(view.Sources, s.join(&c, now))
		}
		view.Clusters = append(view.Clusters, c)
	}
	return view
}

// judge adds what the object alone does not tell: writers beside us in lead mode,
// and what to set in follow mode.
func (s *Source) judge(from *cluster, c *planner.RayCluster, now time.Time) {
	if c.Mode == planner.ModeLead && c.Invalid == "" {
		c.Invalid = s.pods.liveAutoscaler(from)
		if at, ok := s.specs[c.UID]; ok && c.Invalid == "" {
			c.Invalid = at.contest.verdict(now)
		}
	}
	c.Advice = from.advise(s.o.BootTime())
}

// maxError is the longest text of an error that a snapshot carries.
const maxError = 1024

// join fills in the demand of one cluster and tells how well it is known.
func (s *Source) join(c *planner.RayCluster, now time.Time) planner.Source {
	out := planner.Source{Kind: planner.SourceGCS, Name: c.Key()}
	p := s.byUID[c.UID]
	if p == nil {
		out.Error = "no head pod is ready"
		c.DemandError = out.Error
		return out
	}
	state, readAt, err := p.last()
	age := now.Sub(readAt)
	switch {
	case state == nil && err == nil:
		out.Error = "not read yet"
	case err != nil:
		out.Error = clip(err.Error(), maxError)
	case age > s.o.StaleAfter:
		out.Error = fmt.Sprintf("the last answer is older than %s", s.o.StaleAfter)
	}
	if state != nil {
		out.Age = planner.Duration(max(0, age))
		out.Known = age <= s.o.StaleAfter
	}
	if !out.Known {
		c.DemandError = out.Error
		return out
	}
	c.DemandKnown = true
	c.DemandSince = state.Since
	c.Requests, c.Gangs, c.Constraints, c.Rejected = state.Requests, state.Gangs, state.Constraints, state.Rejected
	if ttl := s.o.ConstraintTTL; ttl > 0 && len(c.Constraints) > 0 && now.Sub(state.ConstraintsSince) > ttl {
		c.Rejected = append(slices.Clone(c.Rejected), planner.Rejected{
			What: "cluster resource constraint", Why: "expired: request_resources has been the same for more than " + ttl.String(), Count: int64(len(c.Constraints)),
		})
		c.Constraints = nil
	}
	c.RayNodes = s.pods.join(c, state)
	return out
}
