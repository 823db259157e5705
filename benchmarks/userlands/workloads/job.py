"""A service's job in Python: files, threads, processes, sockets, databases, certificates."""

import asyncio
import concurrent.futures
import hashlib
import logging
import mmap
import multiprocessing
import os
import random
import secrets
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import zlib


def files():
    with tempfile.TemporaryDirectory() as top:
        for name in ("a", "b/c", "b/d"):
            path = os.path.join(top, "from", name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(name * 1000)
        os.chmod(os.path.join(top, "from", "a"), 0o640)
        os.symlink("a", os.path.join(top, "from", "link"))
        shutil.copytree(os.path.join(top, "from"), os.path.join(top, "to"), symlinks=True)
        os.rename(os.path.join(top, "to", "a"), os.path.join(top, "to", "e"))
        os.utime(os.path.join(top, "to", "e"), (1, 2))
        with open(os.path.join(top, "to", "e"), "rb") as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
                start = memory[:3]
        shutil.move(os.path.join(top, "to", "b"), os.path.join(top, "moved"))
        found = sorted(
            os.path.relpath(os.path.join(at, name), top)
            for at, _, names in os.walk(top)
            for name in names
        )
        return (
            start,
            found,
            oct(os.stat(os.path.join(top, "to", "e")).st_mode),
            shutil.disk_usage(top).total > 0,
        )


def square(number):
    return number * number


def threads():
    lock, seen = threading.Lock(), []

    def work(number):
        time.sleep(0.001)
        block = bytearray(1 << 20)
        with lock:
            seen.append(len(block) + number)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return sum(seen), list(pool.map(square, range(10)))


def processes():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        squares = pool.map(square, range(10))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        squares += pool.map(square, range(3))
    out = subprocess.run(["/bin/sh", "-c", "cat; exit 3"], input=b"hello", stdout=subprocess.PIPE)
    text = subprocess.check_output(["/bin/echo", "plain"], close_fds=False)
    return squares, out.returncode, out.stdout, text, os.system("exit 4")


def sockets():
    found = sorted({one[4][0] for one in socket.getaddrinfo("localhost", 80)})

    async def serve(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    async def ask():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"question\n")
        answer = await reader.readline()
        writer.close()
        process = await asyncio.create_subprocess_exec("/bin/echo", "child", stdout=subprocess.PIPE)
        output, _ = await process.communicate()
        blocking = await asyncio.get_running_loop().run_in_executor(None, square, 12)
        server.close()
        return answer, output, blocking

    return found, asyncio.run(ask())


def databases():
    with sqlite3.connect("/job/job.db") as database:
        database.execute("pragma journal_mode=wal")
        database.execute("create table numbers(number integer)")
        database.executemany("insert into numbers values(?)", [(one,) for one in range(100)])
        return database.execute("select sum(number) from numbers").fetchone()


def signals():
    came = []
    signal.signal(signal.SIGALRM, lambda *_: came.append("alarm"))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(0.05)
    return came


def small():
    ssl.create_default_context()
    return (
        len(secrets.token_bytes(16)),
        hashlib.sha256(b"text").hexdigest(),
        len(os.urandom(4)),
        zlib.crc32(b"text"),
        len(os.sched_getaffinity(0)) > 0,
        random.Random(1).random() > 0,
        os.getloadavg()[0] >= 0,
        os.cpu_count() > 0,
    )


logging.basicConfig(stream=sys.stdout, format="%(message)s")
if __name__ == "__main__":
    for step in (files, threads, processes, sockets, databases, signals, small):
        logging.warning("%s: %s", step.__name__, step())
