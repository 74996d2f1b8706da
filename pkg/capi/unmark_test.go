package capi

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Fault 43: a crash has left a delete mark behind.
func TestUnmark(t *testing.T) {
	t.Parallel()
	later := testTime.Add(time.Minute)
	mark := func(foreign bool) func(*clusterv1.Machine) {
		return func(m *clusterv1.Machine) {
			m.Annotations = map[string]string{clusterv1.DeleteMachineAnnotation: "x", "kept": "yes"}
			if !foreign {
				m.Annotations[DeleteMarkAnnotation] = "plan-6.1790000000"
			}
		}
	}
	w := newWorld(t, cluster(), deployment("a", 4), machineSet("a", "a", 4),
		machine("ours", "a", "", mark(false)), machine("theirs", "a", "", mark(true)), machine("plain", "a", ""),
		machine("going", "a", "", mark(false), deleting),
	)
	step := planner.Step{Kind: planner.StepUnmark, Machines: []string{
		testNamespace + "/ours", testNamespace + "/theirs", testNamespace + "/plain", testNamespace + "/going", testNamespace + "/gone",
	}}
	require.NoError(t, w.actuator().Unmark(t.Context(), step, later))
	assert.Equal(t, map[string]string{"kept": "yes"}, w.machine(t, "ours").Annotations)
	assert.Equal(t, []string{"going", "theirs"}, w.markedMachines(t))
	assert.Len(t, w.writes, 1)

	change(t, w, machine("ours", "a", ""), mark(false))
	change(t, w, deployment("a", 0), func(md *clusterv1.MachineDeployment) { md.Spec.Replicas = new(int32(2)) })
	err := w.actuator().Unmark(t.Context(), step, later)
	require.ErrorIs(t, err, ErrMoved)
	require.ErrorContains(t, err, "a shrink is under way")
	assert.Contains(t, w.markedMachines(t), "ours")

	require.NoError(t, w.Delete(t.Context(), deployment("a", 0)))
	require.NoError(t, w.actuator().Unmark(t.Context(), step, later), "without a MachineDeployment there is no shrink")
	assert.NotContains(t, w.markedMachines(t), "ours")

	require.ErrorContains(t, w.actuator().Unmark(t.Context(), planner.Step{Machines: []string{"other/m"}}, later), "is not in namespace")
}

// Fault 44: a second coordinator finds a mark that the first has written just now,
// and knows of no shrink that it could be for: the mark stays, for the shrink comes
// the moment after. Without it Cluster API would choose by itself.
func TestUnmarkLeavesAYoungMark(t *testing.T) {
	t.Parallel()
	w := pool(t)
	step := planner.Step{Kind: planner.StepUnmark, Machines: []string{testNamespace + "/m1"}}
	second := w.actuator()
	w.onWrite = func(_ int, what string) error {
		if what == "scale a" {
			err := second.Unmark(t.Context(), step, testTime.Add(9*time.Second))
			require.ErrorIs(t, err, ErrMoved)
			require.ErrorContains(t, err, "its shrink may follow")
		}
		return nil
	}
	require.NoError(t, w.actuator().Remove(t.Context(), removal(3, 2, "m1"), testPlan, testTime))
	assert.EqualValues(t, 2, w.replicas(t))
	assert.Equal(t, []string{"m1"}, w.markedMachines(t))
}

// A mark that nobody's shrink follows is taken back when it is old enough, or when
// the clock that wrote it is wrong.
func TestUnmarkWaits(t *testing.T) {
	t.Parallel()
	for age, want := range map[time.Duration]bool{
		0: false, markSettles - time.Second: false, -time.Second: false, markSettles: true, time.Hour: true, -time.Hour: true,
	} {
		t.Run(age.String(), func(t *testing.T) {
			t.Parallel()
			w := pool(t)
			w.onWrite = func(_ int, what string) error {
				if what == "scale a" {
					return context.DeadlineExceeded
				}
				return nil
			}
			require.Error(t, w.actuator().Remove(t.Context(), removal(3, 2, "m1"), testPlan, testTime))
			require.Equal(t, []string{"m1"}, w.markedMachines(t))
			err := w.actuator().Unmark(t.Context(), planner.Step{Kind: planner.StepUnmark, Machines: []string{testNamespace + "/m1"}}, testTime.Add(age))
			if want {
				require.NoError(t, err)
				assert.Empty(t, w.markedMachines(t))
				return
			}
			require.ErrorIs(t, err, ErrMoved)
			assert.Equal(t, []string{"m1"}, w.markedMachines(t))
		})
	}
}
