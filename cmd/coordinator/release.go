package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tandem-autoscaler/tandem/pkg/capi"
	"github.com/tandem-autoscaler/tandem/pkg/config"
)

// released is one mark that was taken off an object, or would be.
type released struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Mark string `json:"mark"`
	// Done is false in a dry run, and where Error tells why not.
	Done bool `json:"done"`
	// Warning tells what follows, if it is more than nothing.
	Warning string `json:"warning,omitempty"`
	Error   string `json:"error,omitempty"`
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
			if !dryRun && !force {
				if err := stopped(cmd.Context(), s.workload.Client(), c.LeaderElection, time.Now()); err != nil {
					return err
				}
			}
			list, err := capi.Release(cmd.Context(), capi.ReleaseOptions{
				Management: s.management.Client(), Workload: s.workload.Client(),
				Namespace: c.Management.Namespace, ClusterName: c.Management.ClusterName, DryRun: dryRun,
			})
			return errors.Join(printReleased(cmd.OutOrStdout(), output, list, dryRun), err)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "the configuration file of the coordinator")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "list the marks, but leave them")
	cmd.Flags().BoolVar(&force, "force", false, "go on although a coordinator holds the lease")
	outputFlag(cmd, &output)
	return cmd
}

func printReleased(w io.Writer, output string, marks []capi.Released, dryRun bool) error {
	list := make([]released, 0, len(marks))
	for _, m := range marks {
		r := released{Kind: m.Kind, Name: m.Name, Mark: m.Marker, Warning: m.Warning, Done: m.Err == nil && !dryRun}
		if m.Err != nil {
			r.Error = m.Err.Error()
		}
		list = append(list, r)
	}
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
		p.linef("%s\t%s\t%s\t%s%s", r.Kind, r.Name, r.Mark, result, after("; ", r.Warning))
	}
	if len(list) == 0 {
		p.linef("no object carries a mark of the coordinator")
	}
	return errors.Join(p.err, t.Flush())
}

// stopped tells that a coordinator still runs.
func stopped(ctx context.Context, workload client.Reader, le config.LeaderElection, now time.Time) error {
	if !le.Enabled {
		return nil
	}
	var lease coordinationv1.Lease
	err := workload.Get(ctx, client.ObjectKey{Namespace: le.Namespace, Name: le.Name}, &lease)
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
