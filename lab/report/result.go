package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Summarize writes the key figures of a report for people. Errors of the writer
// are dropped: the report itself is in a file.
func Summarize(w io.Writer, rep Report) {
	var b strings.Builder
	result := "PASSED"
	if !rep.Passed {
		result = "FAILED"
	}
	fmt.Fprintf(&b, "\n%s %s in %.1f s", result, rep.Scenario, rep.Seconds)
	if rep.LabStartSeconds > 0 {
		fmt.Fprintf(&b, ", after %.1f s for the lab itself", rep.LabStartSeconds)
	}
	b.WriteString("\n")
	for _, f := range rep.Failures {
		fmt.Fprintf(&b, "  not as expected: %s\n", strings.ReplaceAll(strings.TrimSpace(f), "\n", "\n    "))
	}
	for _, d := range rep.Drivers {
		fmt.Fprintf(&b, "  driver %s: %s\n", d.Name, driverText(d))
	}
	for _, wave := range rep.Waves {
		fmt.Fprintf(&b, "  demand of %s at %.1f s: %s; %s\n", wave.RayCluster, wave.VisibleAt, countsText(wave.Demand), patchText(wave))
	}
	for _, p := range rep.Pools {
		if p.Worker {
			fmt.Fprintf(&b, "  pool %s (%s): %d bought, %d raises, at most %d replicas, %d Machines at the end\n", p.Name, p.Class, p.Bought, p.Raises, p.MaxReplicas, p.MachinesAtEnd)
		}
	}
	for _, c := range rep.Classes {
		fmt.Fprintf(&b, "  class %s: %d bought, %.0f VM seconds\n", c.Name, c.Bought, c.VMSeconds)
	}
	fmt.Fprintf(&b, "  removed while busy: %d, without a mark: %d\n", len(rep.RemovedWhileBusy), len(rep.RemovedUnmarked))
	if text := idleText(rep); text != "" {
		fmt.Fprintf(&b, "  from the last work to Machine deleted: %s; configured holds %.0f s\n", text, rep.HoldSeconds)
	}
	fmt.Fprintf(&b, "  peak memory: lab %s, with Ray %s", bytesText(rep.Memory.LabPeakBytes), bytesText(rep.Memory.WithRayPeakBytes))
	if c := rep.Coordinator; c != nil {
		fmt.Fprintf(&b, ", coordinator %s (%d restarts)", bytesText(c.PeakRSSBytes), c.Restarts)
	}
	b.WriteString("\n")
	_, _ = io.WriteString(w, b.String())
}

// idleText lists how long Machines were kept after their last work, shortest
// first.
func idleText(rep Report) string {
	var all []float64
	for _, m := range rep.Machines {
		if m.IdleToDeletedSeconds != nil && !m.Excused {
			all = append(all, *m.IdleToDeletedSeconds)
		}
	}
	slices.Sort(all)
	out := make([]string, 0, len(all))
	for _, s := range all {
		out = append(out, fmt.Sprintf("%.1f s", s))
	}
	return strings.Join(out, ", ")
}

func driverText(d Driver) string {
	if d.ExitCode == nil {
		return "did not end"
	}
	text := fmt.Sprintf("exit code %d after %.1f s", *d.ExitCode, *d.RunSeconds)
	if d.WaitSeconds != nil {
		text += fmt.Sprintf(", first worker after %.1f s", *d.WaitSeconds)
	}
	if result := resultLine(d.OutputTail); result != "" {
		text += ", printed: " + result
	}
	return text
}

// resultLine is the last line that begins with RESULT: Ray itself prints a lot.
func resultLine(output string) string {
	for _, l := range slices.Backward(strings.Split(output, "\n")) {
		if strings.HasPrefix(l, "RESULT ") {
			return l
		}
	}
	return ""
}

func patchText(w Wave) string {
	if w.DemandToPatchSeconds == nil {
		return "no MachineDeployment was raised"
	}
	if len(w.Raises) == 1 {
		return fmt.Sprintf("one raise %.2f s later", *w.DemandToPatchSeconds)
	}
	return fmt.Sprintf("%d raises, the first %.2f s later, the last %.2f s", len(w.Raises), *w.DemandToFirstPatchSeconds, *w.DemandToPatchSeconds)
}

func bytesText(n int64) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }
