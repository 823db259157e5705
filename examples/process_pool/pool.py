"""Pools whose processes confine themselves: ``pool.py fork|spawn|forkserver``."""

import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

import work
from sandbox import job


def main():
    """Have two kinds of pool work, then misbehave; the parent stays free."""
    context = multiprocessing.get_context(sys.argv[1])
    with ProcessPoolExecutor(2, mp_context=context, initializer=job.install) as executor:
        print("executor", *executor.map(work.mean, [[1, 2, 3], [4, 6]]))
        print("executor", json.dumps(executor.submit(work.misbehave).result()))
    with context.Pool(2, initializer=job.install, maxtasksperchild=10) as pool:
        print("pool", *pool.map(work.mean, [[1, 2, 3], [4, 6]]))
        print("pool", json.dumps(pool.apply(work.misbehave)))
    print("parent", json.dumps(work.misbehave()))


if __name__ == "__main__":
    main()
