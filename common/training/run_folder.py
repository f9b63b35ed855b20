"""The folder of a run: what lies in it, who may write there, and how its records stay complete.

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
import math
import os
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from common import recipe as recipes
from common.errors import UserError
from common.files import UNFINISHED, numbered, replacing, write_json
from common.training import checkpoint

# Files of every run: of its training and of what the tools make of it
OWN = ("metrics.jsonl", "timing.jsonl", "losses.png", "animation.gif", "metrics.png", "comparison.png",
       "comparison.json", "report.html", "best.json", "config.json")
EVALUATION = b'{"evaluation": true, '  # how such a line begins


class RunFolder:
    """A locked output folder: one run at a time.

    Args:
        path: the folder, made when missing.
        resume: go on with the run in it.
        overwrite: delete the run in it first.

    Raises:
        UserError: a run is in it and neither flag is given; nothing is there to resume; another process
            is at work in it; it cannot be written.
    """

    def __init__(self, path, resume=False, overwrite=False):
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.frames = self.path / "constant_noise"
        self.config_path = self.path / "config.json"
        self.metrics_path = self.path / "metrics.jsonl"
        self.timing_path = self.path / "timing.jsonl"
        self._metrics = None
        records = (self.metrics_path, *checkpoint.listing(self.checkpoints))
        if not self.config_path.is_file() and not overwrite and any(path.exists() for path in records):
            raise UserError(f"{self.path} holds a run without its config.json; put that back, or --overwrite deletes "
                            "the run")
        if resume and not self.config_path.is_file():
            raise UserError(f"--resume: there is no run in {self.path}; leave the flag out to start one")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path / ".lock", timeout=0)
            self._lock.acquire()
        except Timeout:
            raise UserError(f"another process is training in {self.path}; "
                            "wait for it, or choose another --output") from None
        except OSError as error:
            raise UserError(f"cannot write into {self.path}: {error.strerror}; "
                            "choose another --output") from error
        for folder in (self.path, self.checkpoints, self.frames):  # what was being written when a run was killed
            for half in folder.glob(UNFINISHED):
                half.unlink(missing_ok=True)
        if not resume and any(path.exists() for path in (self.config_path, *records)):
            if not overwrite:
                self.close()
                raise UserError(f"{self.path} holds a run already; "
                                "--resume goes on with it, --overwrite deletes it, --output takes another place")
            self.delete()

    def delete(self):
        """Remove a run's own files; anything else in the folder stays."""
        try:
            files = [name for name in self.read_config().get("files", ())
                     if (self.path / name).resolve().is_relative_to(self.path.resolve())]
        except UserError:  # not whole: its own files stay
            files = []
        pictures = [path for folder in (self.path, self.frames) for path, *_ in numbered(folder, ".png")]
        owned = [*checkpoint.listing(self.checkpoints), *pictures, *(self.path / name for name in (*files, *OWN))]
        for path in owned:
            if not path.is_dir():
                path.unlink(missing_ok=True)

    def close(self):
        """Let go of the folder."""
        if self._metrics:
            with suppress(OSError):  # a full disk, which `write_metrics` has told of
                self._metrics.close()
        self._lock.release()

    def write_config(self, config):
        """Keep ``config`` as ``config.json``."""
        write_json(self.config_path, config)

    def read_config(self):
        """The run's ``config.json``.

        Raises:
            UserError: it is not whole.
        """
        return read_config(self.path)

    def open_metrics(self, steps):
        """Go on with ``metrics.jsonl`` after ``steps`` lines; what an interrupted run wrote beyond is dropped.

        Evaluations are no steps; those of later checkpoints are dropped too.

        Raises:
            UserError: fewer lines are there than the checkpoint has steps.
        """
        lines = self.metrics_path.read_bytes().splitlines(keepends=True) if self.metrics_path.exists() else []
        kept, count = [], 0
        for written in lines:
            if written.startswith(EVALUATION):
                keep = _evaluation(written).get("step", math.inf) <= steps
            else:
                keep = count < steps
                count += 1
            if keep:
                kept.append(written)
        if count < steps:
            raise UserError(f"{self.metrics_path} has {count} lines, the checkpoint has {steps} steps: "
                            "put the file back, or start anew with --overwrite")
        if len(kept) != len(lines):
            with replacing(self.metrics_path) as temporary:
                temporary.write_bytes(b"".join(kept))
        self._metrics = open(self.metrics_path, "a", encoding="utf-8")  # noqa: SIM115  closed in `close`

    def write_metrics(self, **values):
        """Add one line, at once: complete after a crash."""
        with self._writing():
            self._metrics.write(line(values))
            self._metrics.flush()

    def write_timing(self, **values):
        """Add one line to ``timing.jsonl``."""
        with self._writing(), open(self.timing_path, "a", encoding="utf-8") as file:
            file.write(line({"time": round(time.time(), 3), **values}))

    def sync_metrics(self):
        """Bring ``metrics.jsonl`` onto the disk, before a checkpoint that counts on its lines."""
        with self._writing():
            os.fsync(self._metrics.fileno())

    @contextmanager
    def _writing(self):
        try:
            yield
        except OSError as error:
            raise UserError(f"cannot write into {self.path}: {error.strerror}; "
                            "free some space, then go on with --resume") from error

    def metrics(self):
        """The lines of ``metrics.jsonl`` as dictionaries, without `evaluations`."""
        return read_lines(self.metrics_path)

    def latest(self):
        """The newest checkpoint's path.

        Raises:
            UserError: there is none.
        """
        return latest_checkpoint(self.path)


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


def time_spent(run):
    """Where the time of the run in a folder went, by its ``timing.jsonl``.

    Returns:
        (seconds, iterations, seconds by part), or None: too short to tell.

    Raises:
        UserError: the file is not as a run writes it.
    """
    path = run / "timing.jsonl"
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


def evaluations(path):
    """What was measured of the run in ``path``: a dictionary for each checkpoint, in order of steps.

    Raises:
        UserError: ``metrics.jsonl`` cannot be read.
    """
    found = {}
    try:
        with open(Path(path) / "metrics.jsonl", "rb") as file:
            for written in file:
                if values := written.startswith(EVALUATION) and _evaluation(written):
                    found.setdefault(values["step"], {}).update(values)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UserError(f"cannot read metrics.jsonl in {path}: {error.strerror}; check its permissions") from error
    return [found[step] for step in sorted(found)]


def _evaluation(written):
    """The values of such a line; none of a damaged one, which can be measured anew."""
    try:
        values = json.loads(written)
    except ValueError:
        return {}
    return values if "step" in values else {}


def add_evaluation(path, step, epoch, batch, **values):
    """Add a line to the ``metrics.jsonl`` of the run in ``path``, which may be training at that moment.

    Args:
        path: folder of the run.
        step, epoch, batch: of the checkpoint; all 0 before the first step.
        values: name → number, or what JSON can hold.

    Raises:
        UserError: it cannot be written.
    """
    written = line({"evaluation": True, "step": step, "epoch": epoch, "batch": batch, **values})
    try:
        with open(Path(path) / "metrics.jsonl", "ab+") as file:
            if file.tell() and file.seek(-1, os.SEEK_END) and file.read(1) != b"\n":
                written = "\n" + written  # behind a line that a crash has torn
            file.write(written.encode())
    except OSError as error:
        raise UserError(f"cannot write into {path}: {error.strerror}; free some space, or copy the run to a place "
                        "that can be written") from error


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


def has_config(path):
    """Whether there is a run in ``path``, whole or not."""
    return (Path(path) / "config.json").is_file()


def read_config(path):
    """The ``config.json`` of the run in ``path``, a `Config`.

    Raises:
        UserError: there is none, or it is not whole; also later, when a key is asked for that it lacks.
    """
    file = Path(path) / "config.json"
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
        raise UserError(f"there is no run in {path}: {file.name} is missing; train one, or name its folder") from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _unreadable(file, error) from error


def latest_checkpoint(path):
    """The newest checkpoint of the run in ``path``.

    Raises:
        UserError: there is none.
    """
    found = checkpoint.listing(Path(path) / "checkpoints")
    if not found:
        raise UserError(f"the run in {path} has no checkpoint yet; start anew with --overwrite")
    return found[-1]


def mark_best(path, chosen, known):
    """Mark a checkpoint as the best of the run in ``path``, for `best_checkpoint`.

    Args:
        path: folder of the run.
        chosen: the checkpoint's path.
        known: what makes it the best, by name.
    """
    write_json(Path(path) / "best.json", {"checkpoint": Path(chosen).name, **known})


def best_checkpoint(path):
    """The checkpoint of the run in ``path`` that is marked as the best.

    Raises:
        UserError: none is marked, or it is not there any more.
    """
    file = Path(path) / "best.json"
    command = f"python tools/evaluate.py --run {path} marks it"
    try:
        with understood(file):
            name = json.loads(file.read_text(encoding="utf-8"))["checkpoint"]
    except FileNotFoundError:
        raise UserError(f"the best checkpoint of {path} is not known yet; {command}") from None
    for known in checkpoint.listing(Path(path) / "checkpoints"):
        if known.name == name:
            return known
    raise UserError(f"the best checkpoint of {path}, {name}, is not there any more; {command} anew")


def chosen_checkpoint(path, wanted=None):
    """The checkpoint that a user names, of the run in ``path``: the newest when None, the best for ``best``, or a path.

    Raises:
        UserError: there is no such checkpoint.
    """
    if wanted is None:
        return latest_checkpoint(path)
    return best_checkpoint(path) if str(wanted) == "best" else wanted
