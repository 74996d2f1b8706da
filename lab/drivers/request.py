"""Ask for resources with request_resources, wait until the cluster has them,
hold them for a while, and take the request back.

Usage: request.py ADDRESS GPUS [HOLD SECONDS]
"""

import sys
import time

import ray
from ray.autoscaler.sdk import request_resources


def main():
    address, gpus = sys.argv[1], int(sys.argv[2])
    hold = float(sys.argv[3]) if len(sys.argv) > 3 else 5
    ray.init(address=address, log_to_driver=False)
    request_resources(bundles=[{"GPU": 1}] * gpus)
    print(f"asked for {gpus} GPUs", flush=True)
    start = time.time()
    while ray.cluster_resources().get("GPU", 0) < gpus:
        time.sleep(0.5)
    print(f"the cluster has them after {time.time() - start:.1f} s", flush=True)
    time.sleep(hold)
    have = ray.cluster_resources().get("GPU", 0)
    if have < gpus:
        raise SystemExit(f"RESULT wrong: only {have} GPUs are left while the request stands")
    request_resources(bundles=[])
    print(f"RESULT ok {gpus}", flush=True)


main()
