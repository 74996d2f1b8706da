package demand

import (
	"encoding/json"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// annotationResize tells Ray's own autoscaler for which groups it may resize
// running pods, and up to what (ray: python/ray/autoscaler/v2/instance_manager/
// cloud_providers/kuberay/ippr_provider.py).
const annotationResize = "ray.io/ippr"

// refuseResize tells why the cluster is not predicted, or nothing. Ray's own
// autoscaler lets running pods grow before it asks for new ones, so that what it
// asks for depends on the room of their nodes, which it does not know either.
// Without that autoscaler nobody resizes: then the annotation means nothing, and
// pods that were resized before count as they are.
func (c *cluster) refuseResize(annotation string) string {
	if c.Mode != planner.ModeFollow || !resizes(annotation) {
		return ""
	}
	return "annotation " + annotationResize + ": Ray's own autoscaler resizes pods in place, so what it will ask for cannot be predicted: " +
		"VMs are bought once pods wait, and nodes that its pods could use are kept; remove the annotation, or use mode lead"
}

// resizes tells whether the annotation may have an effect: it names a group, or
// it is no such object, in which case Ray's own autoscaler stops working.
func resizes(annotation string) bool {
	if annotation == "" {
		return false
	}
	var spec map[string]any
	if err := json.Unmarshal([]byte(annotation), &spec); err != nil || spec == nil {
		return true
	}
	groups, set := spec["groups"]
	named, isObject := groups.(map[string]any)
	return set && (!isObject || len(named) > 0)
}
