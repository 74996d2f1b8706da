"""Run tasks of given sizes on a Ray cluster and check what they compute.

Usage: tasks.py ADDRESS --task CPUS:GPUS:COUNT[:RESOURCE]... [--seconds S] [--rounds R] [--pause P]
"""

import argparse
import time

import ray


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("address")
    p.add_argument("--task", action="append", required=True, help="CPUS:GPUS:COUNT[:RESOURCE], may be given again; each task takes 1 of the custom resource")
    p.add_argument("--seconds", type=float, default=5, help="how long each task runs")
    p.add_argument("--rounds", type=int, default=1, help="how often all of it is done")
    p.add_argument("--pause", type=float, default=0, help="seconds between rounds")
    return p.parse_args()


@ray.remote
def square(i, seconds):
    time.sleep(seconds)
    return i * i


def size(text):
    cpus, gpus, count, *resource = text.split(":")
    return int(count), {"num_cpus": float(cpus), "num_gpus": float(gpus), "resources": {name: 1 for name in resource}}


def main():
    a = arguments()
    ray.init(address=a.address, log_to_driver=False)
    sizes = [size(t) for t in a.task]
    total = 0
    for r in range(a.rounds):
        if r:
            time.sleep(a.pause)
        start = time.time()
        refs = [square.options(**o).remote(i, a.seconds) for n, o in sizes for i in range(1, n + 1)]
        print(f"round {r + 1}: {len(refs)} tasks submitted", flush=True)
        total += sum(ray.get(refs))
        print(f"round {r + 1}: done after {time.time() - start:.1f} s", flush=True)
    want = a.rounds * sum(i * i for n, _ in sizes for i in range(1, n + 1))
    if total != want:
        raise SystemExit(f"RESULT wrong: {total}, want {want}")
    print(f"RESULT ok {total}", flush=True)


main()
