"""How a process of the benchmark talks to the one that started it. Python 3.8 and its library only: fluid runs it."""

import json
import sys
import time


def serve(about, units, run, profile=None):
    """Say that all is ready, then answer each line on stdin.

    Args:
        about: facts to report first, such as versions.
        units: units of work in a run: an iteration, or so many pictures.
        run: a function that does the work once.
        profile: a function that takes ``run``, calls it and returns what the line ``profile`` is answered with;
            every other line is answered with the seconds of a unit.
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
    """A line of JSON behind a mark that nothing else prints."""
    print("@" + json.dumps(value), flush=True)
