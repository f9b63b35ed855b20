"""How a process of the benchmark talks to the one that started it. Fluid runs it: only Python 3.8 and its library."""

import json
import sys
import time


def serve(about, units, run, profile=None):
    """Report that the process is ready, then answer each line on stdin.

    Args:
        about: facts to report first, such as versions.
        units: units of work in a run: 1 for an iteration, else the number of pictures or batches.
        run: a function that does the work once.
        profile: a function that takes ``run``, calls it and returns the answer to the line ``profile``. The answer to
            every other line is the seconds of one unit.
    """
    answer(about)
    for line in sys.stdin:
        if line.strip() == "profile":
            answer(profile(run))
        else:
            start = time.perf_counter()
            run()
            answer((time.perf_counter() - start) / units)


def answer(value):
    """Print a value as a line of JSON, after a mark that tells it from all other output."""
    print("@" + json.dumps(value), flush=True)
