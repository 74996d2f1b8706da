package metrics

import (
	"slices"

	"github.com/tandem-autoscaler/tandem/pkg/planner"
)

// Values that stand for everything that has no label value of its own.
const (
	custom = "custom" // resources that Ray or Kubernetes does not define
	other  = "other"  // values of no list
)

// resourceLabel folds the names of custom resources, which tenants make up.
func resourceLabel(name string) string {
	switch name {
	case planner.ResourceCPU, planner.ResourceMemory, planner.ResourceGPU:
		return name
	}
	return custom
}

// units converts an amount of the planner to what a person counts in: cores,
// bytes, whole GPUs, whole units of a custom resource.
func units(name string, amount int64) float64 {
	switch name {
	case planner.ResourceCPU:
		return float64(amount) / 1000
	case planner.ResourceMemory:
		return float64(amount)
	}
	return float64(amount) / float64(planner.Unit)
}

// reasons folds reasons that the planner does not document.
type reasons map[planner.Reason]bool

func knownReasons() reasons {
	known := reasons{}
	for _, r := range planner.Reasons() {
		known[r.Reason] = true
	}
	return known
}

func (r reasons) label(reason planner.Reason) string {
	if r[reason] {
		return string(reason)
	}
	return other
}

func sourceKinds() []planner.SourceKind {
	return []planner.SourceKind{planner.SourceGCS, planner.SourceRay, planner.SourceWorkload, planner.SourceManagement, planner.SourceCatalogue}
}

// sourceLabel is the kind of a source. Its name would be a RayCluster's.
func sourceLabel(kind planner.SourceKind) string {
	switch kind {
	case planner.SourceGCS, planner.SourceRay, planner.SourceWorkload, planner.SourceManagement, planner.SourceCatalogue:
		return string(kind)
	}
	return other
}

func subjectLabel(kind planner.SubjectKind) string {
	switch kind {
	case planner.SubjectNodeGroup, planner.SubjectNode, planner.SubjectMachine, planner.SubjectRayCluster, planner.SubjectDemand:
		return string(kind)
	}
	return other
}

func stepKinds() []planner.StepKind {
	return []planner.StepKind{
		planner.StepGrow, planner.StepGrowWorkers, planner.StepCordon, planner.StepUncordon, planner.StepRemove, planner.StepUnmark,
		planner.StepSoftTaint, planner.StepSoftUntaint, planner.StepDrain, planner.StepShrinkWorkers, planner.StepClearWorkers,
		planner.StepReplaceWorker, planner.StepEvict, planner.StepHook, planner.StepReleaseHook, planner.StepRemember,
	}
}

func stepLabel(kind planner.StepKind) string {
	if slices.Contains(stepKinds(), kind) {
		return string(kind)
	}
	return other
}

func outcomes() []Outcome { return []Outcome{Done, Refused, Failed, DryRun} }

func outcomeLabel(o Outcome) string {
	switch o {
	case Done, Refused, Failed, DryRun:
		return string(o)
	}
	return other
}

func phaseLabel(p Phase) string {
	switch p {
	case PhaseObserve, PhasePlan, PhaseCheck, PhaseAct:
		return string(p)
	}
	return other
}
