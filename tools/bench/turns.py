"""Processes that take turns, one iteration each, so that changes in the machine's speed affect all of them alike."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common.errors import UserError
from tools.bench import ways
from tools.bench.text import short

REST = 0.3  # seconds to wait after a turn, until the threads of its process stop waiting actively
DISTURBED = 0.1  # in a quiet turn, other processes use at most this many cores


class Worker:
    """A process that runs one way of a row when it is told to.

    Args:
        row, way, batch, folder: see `worker.py`.
        threads: how many do the arithmetic; None: all. Fluid and the listing on stock settings use their own default.
        python: the interpreter; None: this process's.
        settings: further environment variables.
    """

    def __init__(self, row, way, batch=1, folder=".", threads=None, python=None, settings=None):
        self.name = f"{row}, {way}"
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in `close`
        self.process = subprocess.Popen(
            ways.command(row, way, batch, folder, python), env=ways.environment(way, threads, settings),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)

    def answer(self):
        """The next answer.

        Raises:
            UserError: the process has ended.
        """
        for line in self.process.stdout:
            if line.startswith("@"):
                return json.loads(line[1:])
        self.errors.seek(0)
        last = [line.strip() for line in self.errors if line.strip()][-1:] or [f"exit code {self.process.wait()}"]
        raise UserError(f"the benchmark of {self.name} has failed: {last[0]}; leave its row out with --rows")

    def turn(self, word="go"):
        """Run once: (seconds of a unit of work, or its profile; cores that other processes used meanwhile)."""
        start, before = time.perf_counter(), self.others()
        with contextlib.suppress(BrokenPipeError):  # the process has ended: `answer` says so
            self.process.stdin.write(word + "\n")
            self.process.stdin.flush()
        seconds = self.answer()
        return seconds, (self.others() - before) / (time.perf_counter() - start)

    def others(self):
        """Processor seconds that all other processes have used, plus those that a host has taken away; Linux only."""
        try:
            whole = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
            pid = self.process.pid
            own = [seconds for each in (pid, *Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
                   for seconds in Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[11:15]]
        except OSError:
            return 0.0
        user, nice, system, _idle, _waiting, *interrupts = map(int, whole)
        return (user + nice + system + sum(interrupts) - sum(map(int, own))) / os.sysconf("SC_CLK_TCK")

    def close(self):
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.errors.close()


def measure(title, workers, options, word="go", last=None):
    """Let workers take turns: one turn each that does not count, then one turn each in every round.

    Args:
        title: for progress lines.
        workers: way → `Worker`.
        options: ``rounds``; and ``patience``, the most seconds to spend on waiting for other processes to become quiet
            and on repeating turns that they have disturbed.
        word: the line that workers are sent: ``go``, or ``profile``.
        last: the way whose worker is sent ``profile`` once more at the end, or None.

    Returns:
        (about, measured). ``about`` is way → the facts that its worker reported. ``measured`` has ``seconds``, way →
        the seconds of each turn; ``disturbed``, how many of these turns were disturbed nevertheless; and with ``last``
        its ``profile``.
    """
    left = options.patience

    def turn(worker, word):
        """(seconds of a unit of work or its profile, whether it was disturbed); it is repeated while patience lasts."""
        nonlocal left
        while True:
            start = time.perf_counter()
            time.sleep(REST)
            before = worker.others()
            time.sleep(REST)
            quiet = worker.others() - before <= DISTURBED * REST
            if quiet or left <= 0:
                took, others = worker.turn(word)
                if others <= DISTURBED or left <= 0:
                    return took, others > DISTURBED
            left -= time.perf_counter() - start

    try:
        about = {way: worker.answer() for way, worker in workers.items()}
        for worker in workers.values():
            worker.turn(word)
        seconds, disturbed = {way: [] for way in workers}, 0
        for number in range(options.rounds):
            for way, worker in workers.items():
                took, bad = turn(worker, word)
                seconds[way].append(took)
                disturbed += bad
            note(f"{title}: round {number + 1} of {options.rounds}: " + ", ".join(
                f"{way} {short(values[-1] if word == 'go' else values[-1]['seconds'])}"
                for way, values in seconds.items())
                + (f"; {disturbed} turns disturbed by other processes" if disturbed else ""))
        profiled = {"profile": turn(workers[last], "profile")[0]} if last else {}
        return about, {"seconds": seconds, "disturbed": disturbed, **profiled}
    finally:
        for worker in workers.values():
            worker.close()


def note(text):
    """Print a line of progress."""
    print(text, file=sys.stderr, flush=True)
