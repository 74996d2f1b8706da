package planner

import (
	"cmp"
	"fmt"
	"slices"
)

// sortRequests puts the requests in all orders.
func (l *leading) sortRequests() {
	_, l.requests = l.c.demand()
	most := Resources{}
	for i := range l.c.WorkerGroups {
		for name, v := range l.c.WorkerGroups[i].RayResources {
			most[name] = max(most[name], v)
		}
	}
	share, names := make([]int64, len(l.requests)), make([][]string, len(l.requests))
	for i, r := range l.requests {
		names[i] = r.Resources.Names()
		for name, v := range r.Resources {
			if most[name] > 0 {
				share[i] = max(share[i], mulDiv(v, 1_000_000, most[name]))
			}
		}
		for order := range l.rank {
			l.rank[order] = append(l.rank[order], i)
		}
	}
	slices.SortStableFunc(l.rank[byShare], func(a, b int) int { return cmp.Compare(share[b], share[a]) })
	slices.SortStableFunc(l.rank[byNames], func(a, b int) int {
		if d := cmp.Compare(len(names[b]), len(names[a])); d != 0 {
			return d
		}
		for k, n := range names[b] {
			if d := cmp.Or(cmp.Compare(n, names[a][k]), cmp.Compare(l.requests[b].Resources[n], l.requests[a].Resources[n])); d != 0 {
				return d
			}
		}
		return 0
	})
}

// sortedRequests puts the requests that are hardest to place first, and makes
// one of equal ones.
func sortedRequests(in []Request) []Request {
	type keyed struct {
		Request
		names          int
		key, selectors string
	}
	all := make([]keyed, 0, len(in))
	for _, r := range in {
		k := keyed{Request: r, names: len(r.Resources.Names()), key: r.Resources.Key()}
		if len(r.Selectors) > 0 {
			k.selectors = fmt.Sprintf("%v", r.Selectors)
		}
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b keyed) int {
		return cmp.Or(cmp.Compare(b.Resources[ResourceGPU], a.Resources[ResourceGPU]), cmp.Compare(b.names, a.names),
			cmp.Compare(b.Resources[ResourceMemory], a.Resources[ResourceMemory]), cmp.Compare(b.Resources[ResourceCPU], a.Resources[ResourceCPU]),
			cmp.Compare(a.key, b.key), cmp.Compare(a.selectors, b.selectors))
	})
	var out []Request
	for i, r := range all {
		if i > 0 && r.key == all[i-1].key && r.selectors == all[i-1].selectors {
			out[len(out)-1].Count = addSat(out[len(out)-1].Count, r.Count)
			continue
		}
		out = append(out, r.Request)
	}
	return out
}
