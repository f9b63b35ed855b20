"""The folder of a run while it trains: a lock for one process at a time, and records that a crash cannot spoil."""

import json
import math
import os
import platform
import time
from contextlib import contextmanager, suppress
from itertools import islice

from filelock import FileLock, Timeout

from common.errors import UserError
from common.files import COMPARED, CONFIG, UNFINISHED, numbered, ours, refuse_pipe, replacing, write_json
from common.training.records import BEST, EVALUATION, Records, evaluation, line, no_run

# Files of every run: those that the training writes, and those that the tools add
OWN = ("metrics.jsonl", "timing.jsonl", "losses.png", "animation.gif", "metrics.png", "comparison.png",
       COMPARED, "report.html", BEST, CONFIG)
VISUALDL = "visualdl"  # the folder of its logs


class RunFolder(Records):
    """A locked output folder: one run at a time.

    Args:
        path: the folder; it is made if it is missing.
        resume: go on with the run in the folder.
        overwrite: delete the run in the folder first.
        files: names of further files that the tutorial writes there.

    Raises:
        UserError: the folder has a run and neither flag is given; there is no run to resume; another process trains in
            the folder; a file of another program would be lost; or the folder cannot be written.
    """

    def __init__(self, path, resume=False, overwrite=False, files=()):
        super().__init__(path)
        self._metrics = None
        records = (self.metrics_path, *self.saved())
        foreign = [path for path, keys, lines in ((self.metrics_path, {"step", "epoch", "batch"}, 1),
                                                  (self.config_path, {"recipe"}, None)) if _lacks(path, keys, lines)]
        if not (self.config_path.is_file() or overwrite or foreign) and any(path.exists() for path in records):
            raise UserError(f"{self.path} holds a run without its config.json; put that back, or --overwrite deletes "
                            "the run")
        if resume and not self.config_path.is_file():
            raise no_run(self.path)
        if not ours(self.path):
            if not any(path.exists() for path in records):
                named = [self.path / name for name in (*OWN, *files)]
                named += [path for path, *_ in numbered(self.path, ".png")]
                foreign = [path for path in named if path.exists()]
            if foreign:  # of another program, or of the user
                raise UserError(f"{foreign[0]} is there and belongs to no run; choose another --output")
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
        # Unfinished files of a killed run
        for folder in {self.path, self.checkpoints, self.frames, *((self.path / name).parent for name in files)}:
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
        except UserError:  # a damaged config.json does not name the recipe's files, so they stay
            files = []
        pictures = [path for folder in (self.path, self.frames) for path, *_ in numbered(folder, ".png")]
        owned = [*self.saved(), *pictures, *(self.path / VISUALDL).glob("vdlrecords.*.log"),
                 *(self.path / name for name in (*files, *OWN))]
        for path in owned:
            if not path.is_dir():
                path.unlink(missing_ok=True)

    def close(self):
        """Close the records and unlock the folder."""
        if self._metrics:
            with suppress(OSError):  # the disk is full; `write_metrics` has said so
                self._metrics.close()
        self._lock.release()

    def write_config(self, config):
        """Write ``config`` to ``config.json``."""
        write_json(self.config_path, config)

    def open_metrics(self, steps):
        """Open ``metrics.jsonl`` to go on after ``steps`` steps; the lines of later steps are dropped.

        An evaluation's line is not counted as a step; it is dropped if its checkpoint is later.

        Raises:
            UserError: the file has fewer lines than the checkpoint has steps.
        """
        lines = self.metrics_path.read_bytes().splitlines(keepends=True) if self.metrics_path.exists() else []
        kept, count = [], 0
        for written in lines:
            if written.startswith(EVALUATION):
                keep = evaluation(written).get("step", math.inf) <= steps
            else:
                keep = count < steps
                count += 1
            if keep:
                kept.append(written)
        if count < steps:
            raise UserError(f"{self.metrics_path} has {count} lines, the checkpoint has {steps} steps: "
                            "put the file back, or train into another --output")
        if len(kept) != len(lines):
            with replacing(self.metrics_path) as temporary:
                temporary.write_bytes(b"".join(kept))
        self._metrics = open(self.metrics_path, "a", encoding="utf-8")  # noqa: SIM115  closed in `close`

    def write_metrics(self, **values):
        """Add one line to ``metrics.jsonl`` and flush it, so that the line is complete after a crash."""
        with self._writing():
            self._metrics.write(line(values))
            self._metrics.flush()

    def write_timing(self, **values):
        """Add one line to ``timing.jsonl``."""
        with self._writing(), open(self.timing_path, "a", encoding="utf-8") as file:
            file.write(line({"time": round(time.time(), 3), **values}))

    def sync_metrics(self):
        """Force ``metrics.jsonl`` onto the disk, because a checkpoint is useless without the lines of its steps."""
        with self._writing():
            os.fsync(self._metrics.fileno())

    @contextmanager
    def _writing(self):
        try:
            yield
        except OSError as error:
            raise UserError(f"cannot write into {self.path}: {error.strerror}; "
                            "free some space, then go on with --resume") from error


def _lacks(path, keys, lines=None):
    """Whether a file's first ``lines`` lines are JSON without these keys, and so of another program.

    A file that is no JSON may be a run's that is empty or damaged.
    """
    try:
        refuse_pipe(path)
        with open(path, "rb") as file:
            values = json.loads(b"".join(islice(file, lines)))
    except (UserError, OSError, ValueError, RecursionError):
        return False
    return not (isinstance(values, dict) and keys <= values.keys())


class SilentFolder(Records):
    """The same folder for the run's other processes, which leave writing to the first.

    Args:
        path, resume: as in `RunFolder`.

    Raises:
        UserError: there is no run to resume: the folder is on another machine.
    """

    def __init__(self, path, resume=False, _overwrite=False, _files=()):
        super().__init__(path)
        if resume and not self.exists():
            raise UserError(f"--resume: there is no run in {self.path} on {platform.node()}; each machine has to see "
                            "the run's folder: put it on a disk that all share, or copy it there")

    def _nothing(self, *_args, **_values):
        pass

    close = write_config = open_metrics = write_metrics = write_timing = sync_metrics = _nothing
