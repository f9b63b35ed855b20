"""Read the records in a run's folder, for the training, generate.py, the evaluation and the report:

    config.json         every option, versions, seeds, data set, machine, the oddities that could be mended
    metrics.jsonl       one line for each batch: step, epoch and batch, each from 0, and losses; no times, so equal
                        runs have equal files. Lines that begin with "evaluation" have the results of
                        `tools/evaluate.py` for the checkpoint after ``step`` steps
    timing.jsonl        how long the parts of the work took: a line at the start, with each picture, and with each
                        checkpoint
    checkpoints/        see `common.training.checkpoint`
    best.json           the checkpoint that `tools/evaluate.py` found to have the lowest FID
    constant_noise/     the generator's pictures of one constant noise, over time
"""

import json
import os
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from common import recipe as recipes
from common.errors import UserError
from common.files import CONFIG, cannot_read, exists, expanded, refuse_pipe, write_json
from common.training import checkpoint

BEST = "best.json"
EVALUATION = b'{"evaluation": true, '  # the beginning of an evaluation's line in metrics.jsonl

PARTS = {"step": "training", "reader": "reading", "records": "pictures and messages",
         "waiting": "waiting for other processes", "all else": "logging and all else"}  # `Records.time_spent`, in words


class Records:
    """The records of the run in a folder; the folder need not exist.

    Args:
        path: the folder.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.frames = self.path / "constant_noise"
        self.config_path = self.path / CONFIG
        self.metrics_path = self.path / "metrics.jsonl"
        self.timing_path = self.path / "timing.jsonl"
        self.best_path = self.path / BEST

    def exists(self):
        """Whether there is a run, complete or damaged."""
        return self.config_path.is_file()

    def read_config(self):
        """``config.json`` as it is now, a `Config`.

        Raises:
            UserError: the file is missing or damaged. The `Config` raises it too, when it is asked for a missing key.
        """
        file = self.config_path
        refuse_pipe(file)
        try:
            config = json.loads(file.read_text(encoding="utf-8"), object_hook=lambda part: Config(part, file))
            if not isinstance(config["recipe"], str):
                raise ValueError("'recipe' is no name")
            config["recipe"] = recipes.current(config["recipe"])
            for name in ("options", "dataset", "versions", "machine"):
                if not isinstance(config[name], dict):
                    raise ValueError(f"{name!r} has no parts")
            return config
        except (FileNotFoundError, NotADirectoryError):
            raise self._missing() from None
        except OSError as error:
            raise cannot_read(file, error) from error
        except (ValueError, TypeError, RecursionError) as error:
            raise _unreadable(file, error) from error

    def require(self):
        """Raise `UserError` if there is no run, not even a damaged one."""
        if not exists(self.config_path):
            raise self._missing()

    def _missing(self):
        return UserError(f"there is no run in {self.path}: {self.config_path.name} is missing; "
                         "train one, or name its folder")

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
            raise UserError(f"the run in {self.path} has no checkpoint yet; train.py --overwrite starts anew")
        return found[-1]

    def chosen(self, wanted=None):
        """The path of the checkpoint that a user wants: None means the newest, ``best`` the best; else it is a path.

        Raises:
            UserError: there is no such checkpoint.
        """
        if wanted is None:
            return self.latest()
        return self.best() if str(wanted) == "best" else expanded(wanted)

    def best(self):
        """The path of the checkpoint that is marked as the best.

        Raises:
            UserError: no checkpoint is marked, or the marked one is not there any more.
        """
        command = f"python tools/evaluate.py --run {self.path} marks it"
        name = self.marked()
        if name is None:
            raise UserError(f"the best checkpoint of {self.path} is not known yet; {command}")
        for known in self.saved():
            if known.name == name:
                return known
        raise UserError(f"the best checkpoint of {self.path}, {name}, is not there any more; {command} anew")

    def marked(self):
        """The file name of the checkpoint that is marked as the best; None if no checkpoint is marked.

        Raises:
            UserError: ``best.json`` cannot be read.
        """
        file = self.best_path
        refuse_pipe(file)
        try:
            with understood(file):
                return str(json.loads(file.read_text(encoding="utf-8"))["checkpoint"])
        except FileNotFoundError:
            return None
        except OSError as error:
            raise cannot_read(file, error) from error

    def mark_best(self, chosen, known):
        """Mark a checkpoint as the best, for `best`.

        Args:
            chosen: the checkpoint's path.
            known: the metrics that make it the best, name → value.
        """
        write_json(self.best_path, {"checkpoint": Path(chosen).name, **known})

    def evaluations(self):
        """The results of evaluations: a dictionary for each checkpoint, in order of steps.

        Raises:
            UserError: ``metrics.jsonl`` cannot be read.
        """
        found = {}
        for values in self.added_evaluations():
            found.setdefault(values["step"], {}).update(values)
        return [found[step] for step in sorted(found)]

    def added_evaluations(self):
        """Yield what each call of `add_evaluation` has added, the earliest first; see `evaluations`."""
        refuse_pipe(self.metrics_path)
        try:
            with open(self.metrics_path, "rb") as file:
                for written in file:
                    if values := written.startswith(EVALUATION) and evaluation(written):
                        yield values
        except FileNotFoundError:
            pass
        except OSError as error:
            raise cannot_read(self.metrics_path, error) from error

    def add_evaluation(self, step, epoch, batch, **values):
        """Add a line to ``metrics.jsonl``, while the run may be training.

        Args:
            step, epoch, batch: of the checkpoint; all 0 for the untrained generator.
            values: name → number, or another value that JSON can hold.

        Raises:
            UserError: the line cannot be written.
        """
        written = line({"evaluation": True, "step": step, "epoch": epoch, "batch": batch, **values})
        try:
            with open(self.metrics_path, "ab+") as file:
                if file.tell() and file.seek(-1, os.SEEK_END) and file.read(1) != b"\n":
                    written = "\n" + written  # after a line that a crash has cut short
                file.write(written.encode())
        except OSError as error:
            raise UserError(f"cannot write into {self.path}: {error.strerror}; free some space, or copy the run to a "
                            "place that can be written") from error

    def time_spent(self):
        """How long each part of the work took, from ``timing.jsonl``.

        Returns:
            (seconds, iterations, part → seconds), or None if the run was too short.

        Raises:
            UserError: the file is damaged.
        """
        path = self.timing_path
        lines = read_lines(path)
        elapsed, steps, parts = 0.0, 0, Counter()
        with understood(path):
            for before, after in zip(lines, lines[1:], strict=False):
                if (after["step"] <= before["step"] or after["seconds"]["step"] < before["seconds"]["step"]
                        or not any(after["seconds"].values())):
                    continue  # the run was resumed between these two lines, and its clock started anew
                elapsed += after["time"] - before["time"]
                steps += after["step"] - before["step"]
                parts.update({name: value - before["seconds"].get(name, 0) for name, value in after["seconds"].items()})
        if elapsed <= 0:
            return None
        parts["all else"] = max(0.0, elapsed - sum(parts.values()))
        return elapsed, steps, parts


@contextmanager
def understood(path):
    """Raise `UserError` if the block finds a file's contents to be not those that a run writes."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} is not as a run writes it ({type(error).__name__}: {error}); "
                        "restore it, or move it away") from error


def read_lines(path):
    """The dictionaries in a file of JSON lines, without `evaluations`; an empty list if the file is missing.

    Incomplete lines are left out: the last line while it is being written, and lines that a power failure has cut.

    Raises:
        UserError: the file has other contents than JSON lines.
    """
    refuse_pipe(path)
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise cannot_read(path, error) from error
    found = []
    for number, line in enumerate(lines, 1):
        if line.endswith(b"\n") and not line.startswith(EVALUATION):
            with understood(f"line {number} of {path}"), suppress(json.JSONDecodeError, UnicodeDecodeError):
                found.append(dict(json.loads(line)))
    return found


def evaluation(written):
    """The values of an evaluation's line; {} for a damaged line, because it can be measured anew."""
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
    """``config.json`` or a part of it. A missing key raises `UserError`: somebody has changed the file."""

    def __init__(self, values, file):
        super().__init__(values)
        self.file = file

    def __missing__(self, key):
        raise _unreadable(self.file, f"no {key!r} in it")


def no_run(path):
    """The error of ``--resume`` if there is no run in a folder."""
    return UserError(f"--resume: there is no run in {path}; leave the flag out to start one")


def _unreadable(file, why):
    return UserError(f"{file} cannot be read ({why}); restore it, or train into another --output; "
                     "generate.py still draws from the checkpoints")
