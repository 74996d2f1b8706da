package planner

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// key is a canonical text of the shape: pods with equal keys are planned as one.
func (s *PodShape) key() string {
	var b strings.Builder
	b.WriteString(s.Requests.Key())
	for _, k := range slices.Sorted(maps.Keys(s.NodeSelector)) {
		fmt.Fprintf(&b, "|%q=%q", k, s.NodeSelector[k])
	}
	ts := make([]string, 0, len(s.Tolerations))
	for _, t := range s.Tolerations {
		ts = append(ts, fmt.Sprintf("~%q,%q,%q,%q", t.Key, t.Operator, t.Value, t.Effect))
	}
	slices.Sort(ts)
	b.WriteString(strings.Join(slices.Compact(ts), ""))
	for _, t := range s.NodeAffinity {
		fmt.Fprintf(&b, "@%q", t)
	}
	return b.String()
}

// tolerates tells whether a pod of the shape may be scheduled on a node with
// the taints. PreferNoSchedule never keeps a pod away.
func (s *PodShape) tolerates(taints []Taint) bool {
	for _, t := range taints {
		if t.Effect == "PreferNoSchedule" {
			continue
		}
		if !slices.ContainsFunc(s.Tolerations, func(o Toleration) bool { return o.matches(t) }) {
			return false
		}
	}
	return true
}

// matches follows Kubernetes: operator Exists ignores the value, and with an
// empty key matches every taint.
func (o Toleration) matches(t Taint) bool {
	if o.Effect != "" && o.Effect != t.Effect {
		return false
	}
	if o.Operator == "Exists" {
		return o.Key == "" || o.Key == t.Key
	}
	return o.Key == t.Key && o.Value == t.Value
}

// selects tells whether labels satisfy the shape's node selector and affinity.
func (s *PodShape) selects(labels map[string]string) bool {
	for k, v := range s.NodeSelector {
		if l, ok := labels[k]; !ok || l != v {
			return false
		}
	}
	return len(s.NodeAffinity) == 0 || slices.ContainsFunc(s.NodeAffinity, func(t NodeTerm) bool { return t.matches(labels) })
}

func (t NodeTerm) matches(labels map[string]string) bool {
	return len(t) > 0 && !slices.ContainsFunc(t, func(r NodeRequirement) bool { return !r.matches(labels) })
}

// matches follows Kubernetes, also in that Gt and Lt compare whole numbers and
// match nothing else.
func (r NodeRequirement) matches(labels map[string]string) bool {
	v, has := labels[r.Key]
	switch r.Operator {
	case "In":
		return has && slices.Contains(r.Values, v)
	case "NotIn":
		return !has || !slices.Contains(r.Values, v)
	case "Exists":
		return has
	case "DoesNotExist":
		return !has
	case "Gt", "Lt":
		have, err := strconv.ParseInt(v, 10, 64)
		if err != nil || len(r.Values) != 1 {
			return false
		}
		want, err := strconv.ParseInt(r.Values[0], 10, 64)
		return err == nil && (r.Operator == "Gt" && have > want || r.Operator == "Lt" && have < want)
	}
	return false
}

// matches tells whether Ray labels satisfy every requirement of the selector.
func (s Selector) matches(labels map[string]string) bool {
	for _, r := range s {
		v, ok := labels[r.Key]
		in := ok && slices.Contains(r.Values, v)
		if in == r.NotIn {
			return false
		}
	}
	return true
}

// times tells how often r fits in room, at most limit; r without any amount
// fits limit times.
func (r Resources) times(room Resources, limit int64) int64 {
	n := limit
	for name, v := range r {
		if v > 0 {
			n = min(n, room[name]/v)
		}
	}
	return max(0, n)
}

// scaled is r times n, saturating.
func (r Resources) scaled(n int64) Resources {
	out := make(Resources, len(r))
	for name, v := range r {
		out[name] = mulSat(v, n)
	}
	return out
}

// mulSat is a*b for non-negative operands, saturating.
func mulSat(a, b int64) int64 {
	if a != 0 && b > math.MaxInt64/a {
		return math.MaxInt64
	}
	return a * b
}

// mulDiv is a*b/c rounded down for non-negative operands and c > 0, without
// overflow of the product where the quotient fits.
func mulDiv(a, b, c int64) int64 {
	if a == 0 || b <= math.MaxInt64/a {
		return a * b / c
	}
	q := float64(a) / float64(c) * float64(b)
	if q >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(q)
}

// text writes resources for people, such as "8 CPU, 64 GiB memory, 1 GPU".
func (r Resources) text() string {
	names := r.Names()
	if len(names) == 0 {
		return "nothing"
	}
	parts := make([]string, 0, len(names))
	for _, n := range names {
		switch n {
		case ResourceCPU:
			parts = append(parts, decimal(r[n], 1000)+" CPU")
		case ResourceMemory:
			parts = append(parts, bytesText(r[n]))
		default:
			parts = append(parts, decimal(r[n], Unit)+" "+n)
		}
	}
	return strings.Join(parts, ", ")
}

// decimal writes v/unit with as few digits as are needed.
func decimal(v, unit int64) string {
	if v%unit == 0 {
		return strconv.FormatInt(v/unit, 10)
	}
	return fmt.Sprintf("%.4g", float64(v)/float64(unit))
}

func bytesText(v int64) string {
	switch {
	case v >= 1<<30:
		return fmt.Sprintf("%.4g GiB memory", float64(v)/(1<<30))
	case v >= 1<<20:
		return fmt.Sprintf("%.4g MiB memory", float64(v)/(1<<20))
	}
	return fmt.Sprintf("%d B memory", v)
}

// money writes a price in millionths for people.
func money(v int64) string { return fmt.Sprintf("%.2f", float64(v)/1e6) }
