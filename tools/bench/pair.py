"""Two processes of one thread that take an iteration together, with and without exchanging anything."""

import os
import socket
import subprocess
import sys

from common.parallel import processes
from tools.bench.text import median, percent, ratio, short, table, times
from tools.bench.ways import ALONE, APART, PAIR

PARTNER = "BENCH_PARTNER"  # environment variable of the second process


def environment(way):
    """The environment variables of the first process, as ``paddle.distributed.launch`` would set them."""
    if way != PAIR:
        return {}
    with socket.socket() as one, socket.socket() as other:  # two free ports
        ports = []
        for taken in (one, other):
            taken.bind(("127.0.0.1", 0))
            ports.append(f"127.0.0.1:{taken.getsockname()[1]}")
    return {"PADDLE_TRAINERS_NUM": "2", "PADDLE_TRAINER_ID": "0", "PADDLE_MASTER": ports[0],
            "PADDLE_TRAINER_ENDPOINTS": ",".join(ports), "PADDLE_CURRENT_ENDPOINT": ports[0]}


def prepare(way, batch, make):
    """The iteration of both processes, as a function of the first one; of the second one, of itself alone.

    Args:
        way: `PAIR`: they train one model; `APART`: each trains its own on half of the batch.
        batch: pictures in the whole batch.
        make: function of a batch size that returns an iteration.
    """
    own = make if way == PAIR else lambda batch: make(batch // 2 if PARTNER in os.environ else batch - batch // 2)
    if PARTNER in os.environ:
        processes.join(False)
        return own(batch)
    other = subprocess.Popen([sys.executable, *sys.argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                             env={**os.environ, PARTNER: "1", **({"PADDLE_TRAINER_ID": "1"} if way == PAIR else {})})
    processes.join(False)
    step = own(batch)

    def answered():
        while not other.stdout.readline().startswith("@"):
            if other.poll() is not None:
                raise ChildProcessError(f"the second process has ended with exit code {other.returncode}")

    def together():
        other.stdin.write("go\n")
        other.stdin.flush()
        step()
        answered()

    together.end = other.stdin.close
    answered()
    return together


def end(run):
    """End both processes in order."""
    if hasattr(run, "end"):
        run.end()
    if processes.watch:
        processes.leave()
        processes.watch.exit(0)


def pair_table(result):
    """The table of one process with two threads beside two processes with one, and the exchange's share of theirs."""
    seconds = result["seconds"]
    alone, pair, apart = (seconds[way] for way in (ALONE, PAIR, APART))
    share = median([max(0.0, 1 - without / whole) for whole, without in zip(pair, apart, strict=True)])
    return table([f"{result['title']}, batch {result['batch']}", "an iteration", "× one process", "of it exchange"], [
        ["one process, 2 threads", short(median(alone)), "–", "–"],
        ["two processes, 1 thread each", short(median(pair)), times(ratio(pair, alone)), percent(share)],
        ["two that exchange nothing", short(median(apart)), times(ratio(apart, alone)), "–"]])
