package demand

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

const (
	wholeList = `{"f:spec":{"f:workerGroupSpecs":{}}}`
	byKey     = `{"f:spec":{"f:workerGroupSpecs":{"k:{\"groupName\":\"gpu\"}":{"f:replicas":{}}}}}`
	byKeyMax  = `{"f:spec":{"f:workerGroupSpecs":{"k:{\"groupName\":\"gpu\"}":{"f:maxReplicas":{}}}}}`
	headOnly  = `{"f:spec":{"f:headGroupSpec":{}}}`
)

// managedBy is an object whose fields are noted as those of manager.
func managedBy(manager, fields string, more ...metav1.ManagedFieldsEntry) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	at := metav1.NewTime(time.Unix(1000, 0))
	u.SetManagedFields(append([]metav1.ManagedFieldsEntry{
		{Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, Time: &at, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)},
	}, more...))
	return u
}

func group(replicas int64) []planner.WorkerGroup {
	return []planner.WorkerGroup{{Name: "gpu", Replicas: replicas}}
}

// Fault 34: somebody else changes replicas, again and again.
// Fault 55: Ray's own autoscaler and the coordinator both want to act.
func TestAWriterBesideUsIsFoundByItsName(t *testing.T) {
	t.Parallel()
	type write struct {
		after    time.Duration
		manager  string
		fields   string
		replicas int64
		refused  bool
	}
	const min1, min11 = time.Minute, 11 * time.Minute
	for name, writes := range map[string][]write{
		"whoever made it":                    {{0, "kubectl-create", wholeList, 1, false}, {min1, "tandem-coordinator", wholeList, 3, false}, {min1, "tandem-coordinator", wholeList, 2, false}},
		"the round of a sidecar that starts": {{0, "kubectl", wholeList, 1, false}, {min1, "tandem-coordinator", wholeList, 3, false}, {min1, "python-requests", wholeList, 1, false}, {min1, "tandem-coordinator", wholeList, 3, false}},
		"again and again":                    {{0, "kubectl", wholeList, 1, false}, {min1, "x", wholeList, 3, false}, {min1, "x", byKey, 1, false}, {min1, "x", wholeList, 2, true}, {min1, "tandem-coordinator", wholeList, 3, true}, {min11, "x", wholeList, 3, false}},
		"now and then":                       {{0, "kubectl", wholeList, 1, false}, {min11, "x", wholeList, 2, false}, {min11, "x", wholeList, 3, false}, {min11, "x", wholeList, 4, false}, {min11, "x", wholeList, 5, false}},
		"other fields":                       {{0, "kubectl", wholeList, 1, false}, {min1, "kubectl-edit", wholeList, 1, false}, {min1, "kubectl-edit", wholeList, 1, false}, {min1, "kubectl-edit", wholeList, 1, false}},
		"fields that are not the replicas":   {{0, "kubectl", wholeList, 1, false}, {min1, "x", headOnly, 2, false}, {min1, "x", byKeyMax, 3, false}, {min1, "x", "[]", 4, false}, {min1, "x", headOnly, 5, false}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c contest
			now := time.Unix(2000, 0)
			for i, w := range writes {
				now = now.Add(w.after)
				c.see(managedBy(w.manager, w.fields), group(w.replicas), now)
				got := c.verdict(now)
				assert.Equal(t, w.refused, got != "", "write %d: %s", i, got)
				if w.refused {
					assert.Contains(t, got, `"x"`)
				}
			}
		})
	}
	later := metav1.NewTime(time.Unix(5000, 0))
	u := managedBy("old", wholeList, metav1.ManagedFieldsEntry{Manager: "new", Time: &later, FieldsV1: metav1.NewFieldsV1(byKey)},
		metav1.ManagedFieldsEntry{Manager: "status", Subresource: "status", Time: &later, FieldsV1: metav1.NewFieldsV1(wholeList)})
	assert.Equal(t, []string{"new", "old"}, replicaOwners(u))
}
