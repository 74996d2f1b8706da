"""Keep one actor on one GPU, and use it all the time.

Usage: hold.py ADDRESS SECONDS
"""

import sys
import time

import ray


@ray.remote(num_gpus=1, num_cpus=1)
class Worker:
    def work(self, seconds):
        time.sleep(seconds)
        return seconds


def main():
    ray.init(address=sys.argv[1], log_to_driver=False)
    end = time.time() + float(sys.argv[2])
    worker = Worker.remote()
    steps = 0
    while time.time() < end:
        ray.get(worker.work.remote(1))
        steps += 1
    print(f"RESULT ok {1 if steps > 0 else 0}", flush=True)


main()
