"""Ask for a placement group of GPU bundles.

Usage: gang.py ADDRESS BUNDLES STRATEGY [--still-pending SECONDS]

With --still-pending the group must not be placed within that time; it is
removed then. Without it the group must be placed.
"""

import argparse

import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group


def main():
    p = argparse.ArgumentParser()
    p.add_argument("address")
    p.add_argument("bundles", type=int)
    p.add_argument("strategy")
    p.add_argument("--still-pending", type=float)
    a = p.parse_args()
    ray.init(address=a.address, log_to_driver=False)
    group = placement_group([{"GPU": 1, "CPU": 1}] * a.bundles, strategy=a.strategy)
    print(f"asked for {a.bundles} bundles {a.strategy}", flush=True)
    placed = group.wait(timeout_seconds=a.still_pending or 600)
    state = placement_group_table(group)["state"]
    nodes = len({n for n in placement_group_table(group)["bundles_to_node_id"].values() if n})
    remove_placement_group(group)
    if a.still_pending is not None and placed:
        raise SystemExit(f"RESULT wrong: the group was placed on {nodes} nodes")
    if a.still_pending is None and not placed:
        raise SystemExit(f"RESULT wrong: the group is {state}")
    print(f"RESULT ok {state}", flush=True)


main()
