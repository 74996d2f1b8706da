package chaos

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/tandem-autoscaler/tandem/lab/report"
)

// Result is what a run came to. It is written as JSON.
type Result struct {
	Passed bool   `json:"passed"`
	Seed   uint64 `json:"seed"`
	Wanted int    `json:"wanted"`
	// Faults in the order in which they took effect.
	Faults []Injected `json:"faults"`
	// Kinds sums them up.
	Kinds map[string]*Kind `json:"kinds"`
	// BusyNodesLost are Machines that went under a Ray node that worked or was
	// not drained, WronglyDeleted those that went without having been chosen,
	// LeftStuck what had not healed at the end. All must be empty.
	BusyNodesLost  []string `json:"busyNodesLost"`
	WronglyDeleted []string `json:"wronglyDeleted"`
	LeftStuck      []string `json:"leftStuck"`
	// Drivers counts the programs that ran, and those that ended well; the
	// others lost their cluster to a fault.
	Drivers     int `json:"drivers"`
	DriversWell int `json:"driversWell"`
	// MachinesBought and MachinesRemoved count those of the worker pools.
	MachinesBought  int `json:"machinesBought"`
	MachinesRemoved int `json:"machinesRemoved"`
	// Report is the account of the whole scenario.
	Report report.Report `json:"report"`
}

// Injected is one fault.
type Injected struct {
	Kind   string  `json:"kind"`
	Target string  `json:"target"`
	At     float64 `json:"at"` // seconds from the start
	// RecoveredAfter is the time until a driver that began after the fault had
	// ended well; absent if none did.
	RecoveredAfter *float64 `json:"recoveredAfter,omitempty"`
}

// Kind sums up the faults of one kind.
type Kind struct {
	Injected int `json:"injected"`
	// Survived are those after which a driver began and ended well.
	Survived int `json:"survived"`
	// Nothing counts the faults that found nothing to happen to.
	Nothing int `json:"nothing"`
}

// judge fills in the verdict from the report.
func (r *Result) judge(rep report.Report) {
	r.Report = rep
	for _, b := range rep.RemovedWhileBusy {
		r.BusyNodesLost = append(r.BusyNodesLost, fmt.Sprintf("%s at %.1f s: %s", b.Machine, b.At, strings.Join(b.Pods, ", ")))
	}
	r.WronglyDeleted = append(r.WronglyDeleted, rep.RemovedUnmarked...)
	for _, d := range rep.Drivers {
		r.Drivers++
		if d.ExitCode != nil && *d.ExitCode == 0 {
			r.DriversWell++
		}
	}
	workers := map[string]bool{}
	for _, p := range rep.Pools {
		workers[p.Name] = p.Worker
		if p.Worker {
			r.MachinesBought += p.Bought
		}
	}
	for _, m := range rep.Machines {
		if workers[m.Pool] && m.DeletedAt != nil {
			r.MachinesRemoved++
		}
	}
	for i := range r.Faults {
		f := &r.Faults[i]
		for _, d := range rep.Drivers {
			if d.ExitCode == nil || *d.ExitCode != 0 || d.StartedAt < f.At {
				continue
			}
			if after := *d.EndedAt - f.At; f.RecoveredAfter == nil || after < *f.RecoveredAfter {
				f.RecoveredAfter = &after
			}
		}
		k := r.kind(f.Kind)
		k.Injected++
		if f.RecoveredAfter != nil {
			k.Survived++
		}
	}
	survived := 0
	for _, k := range r.Kinds {
		survived += k.Survived
	}
	r.Passed = rep.Passed && survived == len(r.Faults) && len(r.Faults) >= r.Wanted &&
		len(r.BusyNodesLost) == 0 && len(r.WronglyDeleted) == 0 && len(r.LeftStuck) == 0
}

func (r *Result) kind(name string) *Kind {
	k, ok := r.Kinds[name]
	if !ok {
		k = &Kind{}
		r.Kinds[name] = k
	}
	return k
}

// Summarize writes the result for people. Errors of the writer are dropped.
func (r *Result) Summarize(w io.Writer) {
	var b strings.Builder
	result := "PASSED"
	if !r.Passed {
		result = "FAILED"
	}
	fmt.Fprintf(&b, "\n%s chaos with seed %d: %d of %d faults in %.0f s\n", result, r.Seed, len(r.Faults), r.Wanted, r.Report.Seconds)
	fmt.Fprintf(&b, "  %-18s %9s %9s\n", "fault", "injected", "survived")
	for _, name := range slices.Sorted(maps.Keys(r.Kinds)) {
		fmt.Fprintf(&b, "  %-18s %9d %9d\n", name, r.Kinds[name].Injected, r.Kinds[name].Survived)
	}
	fmt.Fprintf(&b, "  busy Ray nodes lost:         %d\n", len(r.BusyNodesLost))
	fmt.Fprintf(&b, "  Machines wrongly deleted:    %d\n", len(r.WronglyDeleted))
	fmt.Fprintf(&b, "  left stuck after healing:    %d\n", len(r.LeftStuck))
	for _, list := range [][]string{r.BusyNodesLost, r.WronglyDeleted, r.LeftStuck, r.Report.Failures} {
		for _, text := range list {
			fmt.Fprintf(&b, "    %s\n", strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n      "))
		}
	}
	fmt.Fprintf(&b, "  drivers: %d ran, %d ended well; Machines: %d bought, %d given back", r.Drivers, r.DriversWell, r.MachinesBought, r.MachinesRemoved)
	if c := r.Report.Coordinator; c != nil {
		fmt.Fprintf(&b, "; coordinator: %d starts, %d MiB", c.Starts, c.PeakRSSBytes>>20)
	}
	if median, most, ok := r.recovery(); ok {
		fmt.Fprintf(&b, "\n  from a fault to the end of a driver that began after it: median %.0f s, largest %.0f s", median, most)
	}
	b.WriteString("\n")
	_, _ = io.WriteString(w, b.String())
}

func (r *Result) recovery() (median, most float64, ok bool) {
	var all []float64
	for _, f := range r.Faults {
		if f.RecoveredAfter != nil {
			all = append(all, *f.RecoveredAfter)
		}
	}
	if len(all) == 0 {
		return 0, 0, false
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)-1], true
}
