package capi

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Another writer on the replicas of a group.
const (
	// scalerAlive is how old a trace of a Cluster Autoscaler may be: it renews
	// its status every few seconds; a taint it sets once, and takes back or acts
	// on within its own timers.
	scalerStatusAlive = 5 * time.Minute
	scalerTaintAlive  = time.Hour
	scalerReadPause   = time.Minute
	scalerReadTimeout = 10 * time.Second
	// contestedAfter foreign writes within contestedFor make a group contested;
	// it stays so until none came for as long.
	contestedAfter = 3
	contestedFor   = time.Hour
)

// Where a Cluster Autoscaler writes its status (kubernetes/autoscaler:
// cluster-autoscaler/config/autoscaling_options.go, clusterstate/utils/status.go).
const (
	scalerNamespace  = "kube-system"
	scalerConfigMap  = "cluster-autoscaler-status"
	scalerUpdatedKey = "cluster-autoscaler.kubernetes.io/last-updated"
	scalerTimeLayout = "2006-01-02 15:04:05.999999999 -0700 MST"
)

// KeepReplicaWriters is the transformation of the management cluster's cache: of
// the managed fields it keeps those that say who writes spec.replicas of a
// MachineDeployment, and drops the others, which are large.
func KeepReplicaWriters() toolscache.TransformFunc {
	return func(in any) (any, error) {
		o, ok := in.(metav1.Object)
		if !ok {
			return in, nil
		}
		if _, deployment := in.(*clusterv1.MachineDeployment); !deployment {
			o.SetManagedFields(nil)
			return in, nil
		}
		kept := slices.DeleteFunc(o.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool { return !writesReplicas(f) })
		o.SetManagedFields(slices.Clip(kept))
		return in, nil
	}
}

// writesReplicas tells whether the entry owns spec.replicas. The set is JSON of
// a fixed form; a field of that name elsewhere (spec.template has none) is not
// to be expected.
func writesReplicas(f metav1.ManagedFieldsEntry) bool {
	return f.FieldsV1 != nil && strings.Contains(f.FieldsV1.GetRawString(), `"f:replicas"`) && f.Subresource != "status"
}

// writerOf is the foreign manager that wrote spec.replicas last, or
// nothing while that was us or is not known.
func writerOf(md *clusterv1.MachineDeployment) string {
	manager, at := "", time.Time{}
	for i := range md.ManagedFields {
		f := &md.ManagedFields[i]
		if !writesReplicas(*f) || f.Time == nil || f.Time.Time.Before(at) {
			continue
		}
		if manager, at = f.Manager, f.Time.Time; manager == fieldOwner {
			manager = ""
		}
	}
	return manager
}

// fights counts how often somebody else writes replicas after us.
type fights struct {
	groups map[string]*fight // by UID
}

type fight struct {
	ours     bool // the last write seen was ours
	replicas int32
	blows    []time.Time
	by       string
}

// watch notes what is seen of a group now, and tells by whom it is contested.
// One foreign write is a person's good right; a fight is when it comes again and
// again after ours.
func (f *fights) watch(md *clusterv1.MachineDeployment, now time.Time) string {
	if md.Spec.Replicas == nil || len(md.ManagedFields) == 0 {
		return ""
	}
	uid := string(md.UID)
	x := f.groups[uid]
	if x == nil {
		x = &fight{}
		f.groups[uid] = x
	}
	by := writerOf(md)
	if by != "" && x.ours && x.replicas != *md.Spec.Replicas {
		x.blows, x.by = append(x.blows, now), by
	}
	x.ours, x.replicas = by == "", *md.Spec.Replicas
	x.blows = slices.DeleteFunc(x.blows, func(t time.Time) bool { return now.Sub(t) > contestedFor })
	if len(x.blows) < contestedAfter {
		return ""
	}
	return fmt.Sprintf("%s has changed replicas %d times after us within %s", quote(x.by), len(x.blows), contestedFor)
}

// scaler is what is known of a Cluster Autoscaler on the workload cluster.
type scaler struct {
	mu     sync.Mutex
	groups map[string]bool // namespace/name of the MachineDeployments that it manages
	at     time.Time       // of its status
	note   string          // why its status cannot be read
}

// read looks for its status again and again until ctx ends.
func (s *scaler) run(ctx context.Context, live client.Reader, log *zap.Logger) {
	for {
		s.read(ctx, live, log)
		select {
		case <-ctx.Done():
			return
		case <-time.After(scalerReadPause):
		}
	}
}

func (s *scaler) read(ctx context.Context, live client.Reader, log *zap.Logger) {
	ctx, cancel := context.WithTimeout(ctx, scalerReadTimeout)
	defer cancel()
	cm := &corev1.ConfigMap{}
	err := live.Get(ctx, client.ObjectKey{Namespace: scalerNamespace, Name: scalerConfigMap}, cm)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case apierrors.IsNotFound(err):
		s.groups, s.note = nil, ""
	case err != nil:
		if s.note == "" {
			log.Warn("status of a cluster autoscaler cannot be read", zap.Error(err))
		}
		s.note = cut("reading the status of a Cluster Autoscaler: " + err.Error())
	default:
		s.groups, s.at, s.note = scaled(cm.Data["status"]), updated(cm), ""
	}
}

// scaledName finds the names of groups, in the status as YAML (since 1.30) and
// in the older text.
var scaledName = regexp.MustCompile(`(?mi)^[\s-]*name:\s*"?MachineDeployment/([^/\s"]+/[^/\s"]+)"?\s*$`)

func scaled(status string) map[string]bool {
	out := map[string]bool{}
	for _, m := range scaledName.FindAllStringSubmatch(status, -1) {
		out[m[1]] = true
	}
	return out
}

func updated(cm *corev1.ConfigMap) time.Time {
	at, err := time.Parse(scalerTimeLayout, cm.Annotations[scalerUpdatedKey])
	if err != nil {
		return time.Time{}
	}
	return at
}

// manages tells whether a Cluster Autoscaler that is alive manages the group. A
// status without a readable time counts as fresh: two writers are worse than
// none.
func (s *scaler) manages(group string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.groups[group] && (s.at.IsZero() || now.Sub(s.at) < scalerStatusAlive)
}

func (s *scaler) trouble() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.note
}

// contest fills in which managed groups a Cluster Autoscaler works on.
func (s *Source) contest(v *View, now time.Time) {
	marked := map[string]string{} // by Machine: the Node
	for i := range v.Nodes {
		n := &v.Nodes[i]
		if n.Machine != "" && slices.ContainsFunc(n.Taints, func(t planner.Taint) bool { return scalerTaint(t, now) }) {
			marked[n.Machine] = n.Name
		}
	}
	nodes := map[string]string{} // by group: the first such Node
	for i := range v.Machines {
		if name, ok := marked[v.Machines[i].Key()]; ok {
			if of := v.Machines[i].Group; nodes[of] == "" || name < nodes[of] {
				nodes[of] = name
			}
		}
	}
	for i := range v.NodeGroups {
		g := &v.NodeGroups[i]
		switch {
		case !g.Managed || g.Contested != "":
		case s.scaler.manages(g.Key(), now):
			g.Contested = "a Cluster Autoscaler manages it (ConfigMap " + scalerNamespace + "/" + scalerConfigMap + ")"
		case nodes[g.Key()] != "":
			g.Contested = "a Cluster Autoscaler is about to remove Node " + nodes[g.Key()] + " (its taint)"
		}
	}
}

// scalerTaint tells whether a Cluster Autoscaler has set the taint not long ago:
// its value is the time in seconds.
func scalerTaint(t planner.Taint, now time.Time) bool {
	if t.Key != scalerDeletionTaint && t.Key != scalerCandidateTaint {
		return false
	}
	seconds, err := strconv.ParseInt(t.Value, 10, 64)
	return err != nil || now.Sub(time.Unix(seconds, 0)) < scalerTaintAlive
}
