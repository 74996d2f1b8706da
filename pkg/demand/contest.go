package demand

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

const (
	// foreignWindow is how long the write of another is remembered.
	foreignWindow = 10 * time.Minute
	// foreignWrites of replicas by others within the window are one too many. The
	// round that Ray's own autoscaler runs when it starts, and an operator that
	// takes a whole spec over from elsewhere, each write once: they are borne, and
	// the next plan asserts its numbers again.
	foreignWrites = 3
)

// contest watches who writes the replicas of one RayCluster in lead mode, by the
// field managers that the API server notes. The zero value has seen nothing; what
// whoever made the object wrote is no contest.
type contest struct {
	replicas map[string]int64
	writes   []time.Time
	manager  string
}

// see takes note of a new version of the object, and tells the manager if it was
// another's write of replicas.
func (c *contest) see(u *unstructured.Unstructured, groups []planner.WorkerGroup, now time.Time) (manager string) {
	replicas := make(map[string]int64, len(groups))
	changed := false
	for i := range groups {
		g := &groups[i]
		replicas[g.Name] = g.Replicas
		before, known := c.replicas[g.Name]
		changed = changed || known && before != g.Replicas
	}
	c.replicas = replicas
	if !changed {
		return ""
	}
	owners := replicaOwners(u)
	if len(owners) == 0 || slices.Contains(owners, fieldOwner) {
		return "" // ours, or a server that notes nobody
	}
	c.manager = owners[0]
	c.writes = append(c.writes, now)
	if len(c.writes) > foreignWrites {
		c.writes = c.writes[len(c.writes)-foreignWrites:]
	}
	return c.manager
}

// verdict tells why the cluster is left alone, or nothing. It ends by itself when
// the other has been silent for long enough.
func (c *contest) verdict(now time.Time) string {
	if len(c.writes) < foreignWrites {
		return ""
	}
	first, last := c.writes[0], c.writes[len(c.writes)-1]
	if last.Sub(first) > foreignWindow || now.Sub(last) > foreignWindow {
		return ""
	}
	return fmt.Sprintf("another writer, %q, keeps changing the replicas of its worker groups: two writers would fight, so nothing is written until it has been silent for %s; take it away, or set mode follow or off",
		clip(c.manager, 80), foreignWindow)
}

// replicaOwners lists the field managers whose writes of the worker groups'
// replicas stand, the latest first. A list of which the API server knows no keys
// is owned as a whole by whoever changed anything in it last.
func replicaOwners(u *unstructured.Unstructured) []string {
	fields := u.GetManagedFields()
	slices.SortStableFunc(fields, func(a, b metav1.ManagedFieldsEntry) int {
		switch {
		case a.Time == nil || b.Time == nil:
			return 0
		default:
			return b.Time.Compare(a.Time.Time)
		}
	})
	var out []string
	for _, f := range fields {
		if f.FieldsV1 == nil || f.Subresource != "" {
			continue
		}
		var tree map[string]any
		if json.Unmarshal(f.FieldsV1.GetRawBytes(), &tree) != nil {
			continue
		}
		if spec, ok := tree["f:spec"].(map[string]any); ok && ownsReplicas(spec) && !slices.Contains(out, f.Manager) {
			out = append(out, f.Manager)
		}
	}
	return out
}

func ownsReplicas(spec map[string]any) bool {
	groups, ok := spec["f:workerGroupSpecs"].(map[string]any)
	if !ok {
		return false
	}
	keyed := false
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		if !strings.HasPrefix(key, "k:") {
			continue
		}
		keyed = true
		if group, ok := groups[key].(map[string]any); ok {
			if _, owns := group["f:replicas"]; owns {
				return true
			}
		}
	}
	return !keyed
}
