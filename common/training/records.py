"""What a run's folder tells: the one reader for the training, generate.py, the evaluation and the report.

    config.json         every option, versions, seeds, data set, machine, the oddities that could be mended
    metrics.jsonl       one line a batch: step, epoch, batch, losses; nothing that a clock decides.
                        Among them lines that begin with "evaluation": what `tools/evaluate.py` measured of the
                        checkpoint after ``step`` steps
    timing.jsonl        how long the parts of the work took, about every ten batches
    checkpoints/        see `common.training.checkpoint`
    best.json           the checkpoint that `tools/evaluate.py` found to have the lowest FID
    constant_noise/     what the generator makes of one constant noise over time
"""

import json
import os
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from common import recipe as recipes
from common.errors import UserError
from common.files import write_json
from common.training import checkpoint

EVALUATION = b'{"evaluation": true, '  # how a line of metrics.jsonl begins that is no step


class Records:
    """The run in a folder, which need not be there.

    Args:
        path: the folder.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.frames = self.path / "constant_noise"
        self.config_path = self.path / "config.json"
        self.metrics_path = self.path / "metrics.jsonl"
        self.timing_path = self.path / "timing.jsonl"

    def exists(self):
        """Whether there is a run, whole or not."""
        return self.config_path.is_file()

    def read_config(self):
        """``config.json`` as it is now, a `Config`.

        Raises:
            UserError: there is none, or it is not whole; also later, when a key is asked for that it lacks.
        """
        file = self.config_path
        try:
            config = json.loads(file.read_text(encoding="utf-8"), object_hook=lambda part: Config(part, file))
            if not isinstance(config["recipe"], str):
                raise ValueError("'recipe' is no name")
            config["recipe"] = recipes.current(config["recipe"])
            for name in ("options", "dataset", "versions", "machine"):
                if not isinstance(config[name], dict):
                    raise ValueError(f"{name!r} has no parts")
            return config
        except FileNotFoundError:
            raise UserError(f"there is no run in {self.path}: {file.name} is missing; "
                            "train one, or name its folder") from None
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise _unreadable(file, error) from error

    def metrics(self):
        """The lines of ``metrics.jsonl`` as dictionaries, without `evaluations`."""
        return read_lines(self.metrics_path)

    def saved(self):
        """The paths of the checkpoints, oldest first; see `common.training.checkpoint.position`."""
        return checkpoint.listing(self.checkpoints)

    def latest(self):
        """The newest checkpoint's path.

        Raises:
            UserError: there is none.
        """
        found = self.saved()
        if not found:
            raise UserError(f"the run in {self.path} has no checkpoint yet; start anew with --overwrite")
        return found[-1]

    def chosen(self, wanted=None):
        """The path of the checkpoint that a user names: the newest when None, the best for ``best``, or a path.

        Raises:
            UserError: there is no such checkpoint.
        """
        if wanted is None:
            return self.latest()
        return self.best() if str(wanted) == "best" else wanted

    def best(self):
        """The path of the checkpoint that is marked as the best.

        Raises:
            UserError: none is marked, or it is not there any more.
        """
        file = self.path / "best.json"
        command = f"python tools/evaluate.py --run {self.path} marks it"
        try:
            with understood(file):
                name = json.loads(file.read_text(encoding="utf-8"))["checkpoint"]
        except FileNotFoundError:
            raise UserError(f"the best checkpoint of {self.path} is not known yet; {command}") from None
        for known in self.saved():
            if known.name == name:
                return known
        raise UserError(f"the best checkpoint of {self.path}, {name}, is not there any more; {command} anew")

    def mark_best(self, chosen, known):
        """Mark a checkpoint as the best, for `best`.

        Args:
            chosen: the checkpoint's path.
            known: what makes it the best, by name.
        """
        write_json(self.path / "best.json", {"checkpoint": Path(chosen).name, **known})

    def evaluations(self):
        """What was measured: a dictionary for each checkpoint, in order of steps.

        Raises:
            UserError: ``metrics.jsonl`` cannot be read.
        """
        found = {}
        try:
            with open(self.metrics_path, "rb") as file:
                for written in file:
                    if values := written.startswith(EVALUATION) and evaluation(written):
                        found.setdefault(values["step"], {}).update(values)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise UserError(f"cannot read metrics.jsonl in {self.path}: {error.strerror}; "
                            "check its permissions") from error
        return [found[step] for step in sorted(found)]

    def add_evaluation(self, step, epoch, batch, **values):
        """Add a line to ``metrics.jsonl``, while the run may be training.

        Args:
            step, epoch, batch: of the checkpoint; all 0 before the first step.
            values: name → number, or what JSON can hold.

        Raises:
            UserError: it cannot be written.
        """
        written = line({"evaluation": True, "step": step, "epoch": epoch, "batch": batch, **values})
        try:
            with open(self.metrics_path, "ab+") as file:
                if file.tell() and file.seek(-1, os.SEEK_END) and file.read(1) != b"\n":
                    written = "\n" + written  # behind a line that a crash has torn
                file.write(written.encode())
        except OSError as error:
            raise UserError(f"cannot write into {self.path}: {error.strerror}; free some space, or copy the run to a "
                            "place that can be written") from error

    def time_spent(self):
        """Where the time went, by ``timing.jsonl``.

        Returns:
            (seconds, iterations, seconds by part), or None: too short to tell.

        Raises:
            UserError: the file is not as a run writes it.
        """
        path = self.timing_path
        lines = read_lines(path)
        elapsed, steps, parts = 0.0, 0, Counter()
        with understood(path):
            for before, after in zip(lines, lines[1:], strict=False):
                if (after["step"] <= before["step"] or after["seconds"]["step"] < before["seconds"]["step"]
                        or not any(after["seconds"].values())):
                    continue  # the run was resumed between the two: its clock began anew
                elapsed += after["time"] - before["time"]
                steps += after["step"] - before["step"]
                parts.update({name: value - before["seconds"].get(name, 0) for name, value in after["seconds"].items()})
        if elapsed <= 0:
            return None
        parts["all else"] = max(0.0, elapsed - sum(parts.values()))
        return elapsed, steps, parts


@contextmanager
def understood(path):
    """Raises UserError where the block finds something else in the file than a run writes."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} is not as a run writes it ({type(error).__name__}: {error}); "
                        "restore it, or move it away") from error


def read_lines(path):
    """The dictionaries in a file of JSON lines, without `evaluations`; none if it is missing.

    Lines that are not whole are left out: the last one while it is being written, others where the power failed.

    Raises:
        UserError: there is something else in it.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    found = []
    for number, line in enumerate(lines, 1):
        if line.endswith(b"\n") and not line.startswith(EVALUATION):
            with understood(f"line {number} of {path}"), suppress(json.JSONDecodeError, UnicodeDecodeError):
                found.append(dict(json.loads(line)))
    return found


def evaluation(written):
    """The values of such a line; none of a damaged one, which can be measured anew."""
    try:
        values = json.loads(written)
    except ValueError:
        return {}
    return values if "step" in values else {}


def line(values):
    """A line of JSON."""
    return json.dumps({name: number(value) for name, value in values.items()}) + "\n"


def number(value):
    """A NumPy number as a Python number of the same shortest digits; anything else as it is."""
    if isinstance(value, np.floating):
        return float(str(value))
    return int(value) if isinstance(value, np.integer) else value


class Config(dict):
    """``config.json`` or a part of it: a key that is not there is missing in the file, which somebody has changed."""

    def __init__(self, values, file):
        super().__init__(values)
        self.file = file

    def __missing__(self, key):
        raise _unreadable(self.file, f"no {key!r} in it")


def _unreadable(file, why):
    return UserError(f"{file} cannot be read ({why}); restore it, or start anew with --overwrite")
