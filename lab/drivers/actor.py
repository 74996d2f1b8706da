"""Use three GPU nodes for a moment and then keep an actor on one of them.

Usage: actor.py ADDRESS SECONDS
"""

import sys
import time

import ray


@ray.remote(num_gpus=1, num_cpus=1)
def short():
    time.sleep(5)
    return ray.get_runtime_context().get_node_id()


@ray.remote(num_gpus=1, num_cpus=1)
class Worker:
    def work(self, seconds):
        end = time.time() + seconds
        steps = 0
        while time.time() < end:
            time.sleep(0.5)
            steps += 1
        return steps

    def node(self):
        return ray.get_runtime_context().get_node_id()


def main():
    ray.init(address=sys.argv[1], log_to_driver=False)
    seconds = float(sys.argv[2])
    worker = Worker.remote()
    tasks = [short.remote() for _ in range(2)]
    print("one actor and two tasks are submitted", flush=True)
    nodes = ray.get([worker.node.remote(), *tasks])
    print(f"{len(set(nodes))} nodes have worked", flush=True)
    print("the actor works alone", flush=True)
    steps = ray.get(worker.work.remote(seconds))
    if ray.get(worker.node.remote()) != nodes[0]:
        raise SystemExit("RESULT wrong: the actor was moved")
    print(f"RESULT ok {1 if steps > 0 else 0}", flush=True)


main()
