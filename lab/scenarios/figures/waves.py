"""Sums up the waves of a report: median, 99th percentile, largest."""

import json
import statistics
import sys

report = json.load(open(sys.argv[1], encoding="utf-8"))
waits = sorted(w["demandToPatchSeconds"] for w in report["waves"] if w.get("demandToPatchSeconds") is not None)
if len(waits) < 20:
    sys.exit(f"only {len(waits)} waves were measured, want 20 at least")
p99 = waits[min(len(waits) - 1, int(0.99 * len(waits)))]
print(f"{len(waits)} waves, seconds from visible to patched: median {statistics.median(waits):.2f}, p99 {p99:.2f}, largest {waits[-1]:.2f}")
