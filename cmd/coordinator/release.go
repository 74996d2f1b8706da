package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/capi"
	"github.com/tandem-autoscaler/tandem/pkg/config"
	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// fieldOwner is the name under which the API server notes our writes.
const fieldOwner = "tandem-coordinator"

// released is one mark that was taken off an object, or would be.
type released struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Mark string `json:"mark"`
	// Done is false in a dry run, and where Error tells why not.
	Done  bool   `json:"done"`
	Error string `json:"error,omitempty"`
}

func newRelease() *cobra.Command {
	var file, output string
	var dryRun, force bool
	cmd := &cobra.Command{
		Use:   "release --config FILE",
		Short: "Take every mark of the coordinator off Nodes, Machines and MachineDeployments, before an uninstall",
		Long: `release takes the coordinator's cordons and soft taints off Nodes, its pre-drain
hooks and delete marks off Machines, and its notes off MachineDeployments. Marks of
others stay. Stop the coordinator first (scale its Deployment to zero): one that runs
puts its hooks back, so release refuses while the lease is held.

Exit code 1 if a mark could not be taken off; running it again does no harm.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains([]string{"table", "json", "yaml"}, output) {
				return usageError{fmt.Errorf("output %q is not one of table, json, yaml", output)}
			}
			c, err := loadConfig(file)
			if err != nil {
				return err
			}
			s, err := newSources(c, zap.NewNop())
			if err != nil {
				return err
			}
			r := releaser{management: s.management.Client(), workload: s.workload.Client(), c: c, dryRun: dryRun}
			if err := r.idle(cmd.Context(), time.Now()); err != nil && !force {
				return err
			}
			list, err := r.run(cmd.Context())
			return errors.Join(printReleased(cmd.OutOrStdout(), output, list, dryRun), err)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "the configuration file of the coordinator")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "list the marks, but leave them")
	cmd.Flags().BoolVar(&force, "force", false, "go on although a coordinator holds the lease")
	outputFlag(cmd, &output, "table")
	return cmd
}

func printReleased(w io.Writer, output string, list []released, dryRun bool) error {
	if output != "table" {
		return write(w, output, list)
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	p := &printer{w: t}
	p.linef("KIND\tNAME\tMARK\tRESULT")
	for _, r := range list {
		result := "released"
		switch {
		case r.Error != "":
			result = r.Error
		case dryRun:
			result = "would be released"
		}
		p.linef("%s\t%s\t%s\t%s", r.Kind, r.Name, r.Mark, result)
	}
	if len(list) == 0 {
		p.linef("no object carries a mark of the coordinator")
	}
	return errors.Join(p.err, t.Flush())
}

// releaser takes marks off. Every write is bound to the version that was read, and
// tried again on a conflict: the marks are ours alone.
type releaser struct {
	management, workload client.Client
	c                    config.Configuration
	dryRun               bool
	list                 []released
}

// idle tells that a coordinator still runs.
func (r *releaser) idle(ctx context.Context, now time.Time) error {
	le := r.c.LeaderElection
	if !le.Enabled || r.dryRun {
		return nil
	}
	var lease coordinationv1.Lease
	err := r.workload.Get(ctx, client.ObjectKey{Namespace: le.Namespace, Name: le.Name}, &lease)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("reading whether a coordinator runs: %w", err)
	case lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" || lease.Spec.RenewTime == nil:
		return nil
	case now.Sub(lease.Spec.RenewTime.Time) > le.LeaseDuration.Duration:
		return nil
	}
	return fmt.Errorf("coordinator %q holds the lease %s/%s and would put its hooks back: stop it first, or use --force", *lease.Spec.HolderIdentity, le.Namespace, le.Name)
}

// run goes through every object. One that fails stops no other.
func (r *releaser) run(ctx context.Context) ([]released, error) {
	var nodes corev1.NodeList
	var machines clusterv1.MachineList
	var groups clusterv1.MachineDeploymentList
	in := client.InNamespace(r.c.Management.Namespace)
	if err := errors.Join(r.workload.List(ctx, &nodes), r.management.List(ctx, &machines, in), r.management.List(ctx, &groups, in)); err != nil {
		return nil, fmt.Errorf("listing what may carry marks: %w", err)
	}
	for i := range machines.Items {
		if m := &machines.Items[i]; m.Spec.ClusterName == r.c.Management.ClusterName {
			r.annotations(ctx, "Machine", m, machineMarks)
		}
	}
	for i := range groups.Items {
		if g := &groups.Items[i]; g.Spec.ClusterName == r.c.Management.ClusterName {
			r.annotations(ctx, "MachineDeployment", g, func(a map[string]string) []string { return present(a, capi.BackoffAnnotation) })
		}
	}
	for i := range nodes.Items {
		r.taints(ctx, &nodes.Items[i])
	}
	failed := 0
	for _, e := range r.list {
		if e.Error != "" {
			failed++
		}
	}
	if failed > 0 {
		return r.list, fmt.Errorf("%d of %d marks could not be taken off", failed, len(r.list))
	}
	return r.list, nil
}

// machineMarks are our hook, and our delete mark with Cluster API's own annotation
// that stands beside it: one that somebody else set has no such neighbour.
func machineMarks(a map[string]string) []string {
	out := present(a, capi.HookAnnotation)
	if _, ours := a[capi.DeleteMarkAnnotation]; ours {
		out = append(out, capi.DeleteMarkAnnotation)
		out = append(out, present(a, clusterv1.DeleteMachineAnnotation)...)
	}
	return out
}

func present(a map[string]string, key string) []string {
	if _, ok := a[key]; ok {
		return []string{key}
	}
	return nil
}

func (r *releaser) annotations(ctx context.Context, kind string, o client.Object, marks func(map[string]string) []string) {
	found := marks(o.GetAnnotations())
	if len(found) == 0 {
		return
	}
	err := r.write(ctx, r.management, o, func() {
		a := o.GetAnnotations()
		for _, key := range marks(a) {
			delete(a, key)
		}
		o.SetAnnotations(a)
	})
	for _, key := range found {
		r.note(kind, o.GetNamespace()+"/"+o.GetName(), key, err)
	}
}

func (r *releaser) taints(ctx context.Context, n *corev1.Node) {
	ours := func(t corev1.Taint) bool { return t.Key == planner.CordonTaint || t.Key == planner.SoftTaintKey }
	var found []string
	for _, t := range n.Spec.Taints {
		if ours(t) {
			found = append(found, "taint "+t.Key)
		}
	}
	if len(found) == 0 {
		return
	}
	err := r.write(ctx, r.workload, n, func() { n.Spec.Taints = slices.DeleteFunc(n.Spec.Taints, ours) })
	for _, what := range found {
		r.note("Node", n.Name, what, err)
	}
}

// write changes an object, reading it again when somebody else wrote it meanwhile.
// One that is gone carries no marks.
func (r *releaser) write(ctx context.Context, c client.Client, o client.Object, change func()) error {
	if r.dryRun {
		return nil
	}
	const tries = 5
	for try := 1; ; try++ {
		before, ok := o.DeepCopyObject().(client.Object)
		if !ok {
			return fmt.Errorf("%T is no object", o)
		}
		change()
		err := c.Patch(ctx, o, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), client.FieldOwner(fieldOwner))
		if !apierrors.IsConflict(err) || try == tries {
			return client.IgnoreNotFound(err)
		}
		if err := c.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return client.IgnoreNotFound(err)
		}
	}
}

func (r *releaser) note(kind, name, mark string, err error) {
	e := released{Kind: kind, Name: strings.TrimPrefix(name, "/"), Mark: mark, Done: err == nil && !r.dryRun}
	if err != nil {
		e.Error = err.Error()
	}
	r.list = append(r.list, e)
}
