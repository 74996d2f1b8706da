"""The demo's job: GPU tasks, CPU tasks and a gang of two GPU actors on two
different nodes. It counts primes in three ways and checks that they agree.
"""

import sys
import time

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

LIMIT = 120_000
PRIMES = 11_301  # below LIMIT


def primes(low, high):
    def prime(n):
        if n < 4:
            return n > 1
        if n % 2 == 0:
            return False
        return all(n % d for d in range(3, int(n**0.5) + 1, 2))

    return sum(1 for n in range(low, high) if prime(n))


@ray.remote
def count(low, high, seconds):
    time.sleep(seconds)  # stands for the rest of the work
    return primes(low, high)


@ray.remote
class Counter:
    def node(self):
        return ray.get_runtime_context().get_node_id()

    def count(self, low, high):
        return primes(low, high)


def parts(n):
    step = LIMIT // n
    return [(i * step, (i + 1) * step) for i in range(n)]


def gang():
    """Count with two actors that must be on two nodes."""
    group = placement_group([{"GPU": 1, "CPU": 1}] * 2, strategy="STRICT_SPREAD")
    ray.get(group.ready())
    actors = [
        Counter.options(num_gpus=1, num_cpus=1, scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=i)).remote()
        for i in range(2)
    ]
    nodes = set(ray.get([a.node.remote() for a in actors]))
    if len(nodes) != 2:
        raise SystemExit(f"RESULT wrong: the gang is on {len(nodes)} nodes, not on 2")
    total = sum(ray.get([a.count.remote(*p) for a, p in zip(actors, parts(2))]))
    remove_placement_group(group)
    return total


def main():
    ray.init(address=sys.argv[1], log_to_driver=False)
    start = time.time()
    on_cpu = [count.options(num_cpus=8).remote(0, LIMIT, 8)]
    print("an 8-core task is submitted, and a gang of two GPU actors on two nodes", flush=True)
    totals = {"gang": gang()}
    print(f"the gang is done after {time.time() - start:.1f} s; two GPU tasks follow", flush=True)
    on_gpu = [count.options(num_gpus=1, num_cpus=1).remote(*p, 8) for p in parts(2)]
    totals["GPU tasks"] = sum(ray.get(on_gpu))
    totals["CPU task"] = sum(ray.get(on_cpu))
    print(f"all is done after {time.time() - start:.1f} s", flush=True)
    wrong = {k: v for k, v in totals.items() if v != PRIMES}
    if wrong:
        raise SystemExit(f"RESULT wrong: {wrong}, want {PRIMES} each")
    print(f"RESULT ok {PRIMES}", flush=True)


main()
