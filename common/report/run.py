"""Read a run's folder for the report. Nothing is written into it."""

import numpy as np
from filelock import FileLock, Timeout

from common.data.batches import spread
from common.files import numbered
from common.training.checkpoint import position
from common.training.records import Records, understood


class Run:
    """A run as its folder shows it. Nothing is written into the folder.

    Attributes:
        steps, evaluations: the two kinds of lines in ``metrics.jsonl``.
        data: the data set's name.
        status: finished, stopped, or still running, in words.
    """

    def __init__(self, path, name, ended=False):
        self.path, self.name = path, name
        self.records = Records(path)
        self.config = self.records.read_config()
        self.steps = self.records.metrics()
        with understood(self.records.metrics_path):
            self.batches = 1 + max((int(line["batch"]) for line in self.steps), default=0)  # in an epoch, so far
            self.evaluations = self.records.evaluations()
        self.data = str(self.config["dataset"].get("name", "unknown data"))
        self.status = self._status(ended)
        self.timing = self.records.time_spent()

    def _status(self, ended):
        if not self.steps:
            return "no iteration yet"
        done = f"{len(self.steps):,} iterations"
        saved = self.records.saved()
        if saved and position(saved[-1]) == (self.config["options"].get("epoch"), 0):
            return f"finished: {done}"
        running = False if ended else locked(self.path)
        if running:
            return f"still running: {done} so far"
        if running is None:
            return f"not finished: {done}"
        return f"stopped after {done}; --resume goes on with it" if saved else f"{done}; no checkpoint is there"

    def frames(self, most):
        """At most ``most`` pictures of the constant noise, spread evenly: [(path, epoch, batch)]."""
        found = [] if self.records.frames.is_symlink() else numbered(self.records.frames, ".png")
        return [found[i] for i in spread(len(found), most)] if found else []


def is_number(value):
    """Whether a value can be drawn: it is a finite number and not too large."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30


def points(lines, name):
    """(steps, values) of the lines that have a number called ``name``."""
    chosen = [line for line in lines if is_number(line.get(name)) and is_number(line.get("step"))]
    return np.array([float(line["step"]) for line in chosen]), np.array([float(line[name]) for line in chosen])


def names_in(lines):
    """All names in lines, without step, epoch and batch, in the order of their first appearance."""
    return [name for name in dict.fromkeys(name for line in lines for name in line)
            if name not in ("step", "epoch", "batch", "evaluation")]


def families(names):
    """Name → the names that extend it, such as "D-Loss" → ["D-Loss fake", "D-Loss real"]."""
    parts = {name: [part for part in names if part.startswith(name + " ")] for name in names}
    return {name: parts[name] for name in names if not any(name in others for others in parts.values())}


def locked(path):
    """Whether a process is training in the folder; None if that cannot be seen."""
    lock = path / ".lock"
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # the folder is read-only, or the run is another user's
        return None
