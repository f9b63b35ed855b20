"""``--dry_run``: what a run costs. Two real iterations, a picture and a checkpoint are measured, nothing is left."""

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from common.backend.runtime import cores
from common.training import checkpoint
from common.training.loop import CHECKPOINT_SECONDS
from common.training.options import jsonable
from common.training.records import Records, line

MEASURED = 2  # iterations, after one that is not measured, because the first one also prepares the programs


def dry_run(args, data, dataset, gan):
    """Print the options, the sizes of the networks, and the time and room that the run will take on this machine.

    The time is that of iterations, pictures, checkpoints and packing, without the figures at the end. The picture is
    drawn into a temporary folder, which is removed.

    Args:
        args: the options.
        data, dataset: as `common.recipe.Recipe.open_data` returns them with the option ``dry_run``.
        gan: `common.recipe.GAN`.
    """
    print(json.dumps({name: jsonable(value) for name, value in vars(args).items()}, indent=2))
    for name, count in gan.sizes().items():
        print(f"{name}: {count:,} trained parameters")
    steps = min(args.epoch * len(data), args.max_steps or sys.maxsize)
    done = resumed(args)
    flop = gan.flop(data.batch_size)
    print(f"{len(data)} batches an epoch, {steps} iterations" + (f" of {flop / 1e9:.1f} GFLOP" if flop else "")
          + (f", {done} of them done" if done else ""))
    measured = Measured(gan, data, args, dataset.get("note", ""))
    unpacked = data.unpacked
    packing = len(unpacked) * np.mean(unpacked.seconds) / cores() if unpacked else 0
    share = max(0, steps - done) / steps
    drawn = pictures(gan, data, steps)
    seconds = {"iterations": steps * measured.step * share, "pictures": drawn * measured.draw * share}
    saved = -(-steps // len(data)) + int(sum(seconds.values()) / CHECKPOINT_SECONDS)
    seconds |= {"checkpoints": saved * measured.save * share, "packing": packing}
    parts = ", ".join(f"{name} {duration(value)}" for name, value in seconds.items() if value >= 1)
    print(f"time: about {duration(sum(seconds.values()))} ({parts}); an iteration took {measured.step:.3g} s")
    show_room(args, measured.room(drawn, steps, saved, steps // len(data)),
              (unpacked.path, unpacked.bytes) if unpacked else None)


def resumed(args):
    """How many iterations the run has done that is to be resumed; 0 for a new run."""
    found = Records(args.output).saved() if args.resume else []
    return checkpoint.read_record(found[-1])["step"] if found else 0


class Measured:
    """What was measured of a run: seconds of an iteration, a picture and a checkpoint, and their bytes."""

    def __init__(self, gan, data, args, note):
        random = np.random.RandomState(args.seed)
        noise = gan.constant_noise(data.batch_size, random)
        batches = (batch for epoch in range(MEASURED + 1) for batch in data.epoch(epoch, 0))
        took = []
        for _ in range(MEASURED + 1):
            start, before = time.perf_counter(), decoding(data)
            batch = next(batches)
            losses = gan.step(batch, random)
            took.append(time.perf_counter() - start - decoding(data) + before)
        batches.close()
        self.step = sum(took[1:]) / MEASURED
        self.line = len(line({"step": 1000, "epoch": 0, "batch": 100, **losses}))
        self.draw, self.picture, self.once = drawing(gan, noise, batch, losses, note)
        state = gan.state()
        start = time.perf_counter()
        self.whole = noise.nbytes + len(save({name: np.ascontiguousarray(array) for name, array in state.items()}))
        self.save = time.perf_counter() - start
        self.generator = sum(state[name].nbytes for name in gan.generator_names())

    def room(self, drawn, steps, saved, epochs):
        """The bytes of a finished run's folder, by part.

        Args:
            drawn, steps, saved: how many pictures, iterations and checkpoints.
            epochs: how many are completed.
        """
        whole = min(saved, checkpoint.KEEP_LAST)
        older = max(0, (epochs - checkpoint.KEEP_LAST) // checkpoint.KEEP_EPOCHS)
        return {"checkpoints": whole * self.whole + older * self.generator, "records": steps * self.line,
                f"{drawn} pictures of the first one's size": drawn * self.picture + self.once}


def decoding(data):
    """The seconds that were spent on decoding pictures, which a run finds in the packed array."""
    return sum(data.unpacked.seconds) if data.unpacked else 0


def drawing(gan, noise, batch, losses, note):
    """(seconds of a picture with its message, its bytes, the bytes of files that each picture or epoch replaces)."""
    title = gan.message(0, 0, losses) + note
    with tempfile.TemporaryDirectory() as folder:
        numbered = [Path(folder) / "0000_0000.png", Path(folder) / "constant_noise" / "0000_0000.png"]
        for _ in range(2):  # the first picture also prepares the figure
            start = time.perf_counter()
            generated = gan.sample(noise)
            gan.draw(numbered[0], title, batch, generated)
            gan.save_frame(numbered[1], noise, generated)
            took = time.perf_counter() - start
        each = sum(path.stat().st_size for path in numbered)
        gan.end_epoch(Path(folder))
        return took, each, sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) - each


def pictures(gan, data, steps):
    """How many pictures a run of so many steps saves."""
    batches = len(data)
    whole, rest = divmod(steps, batches)
    in_epoch = sum(gan.due(batch, batch + 1, batch == batches - 1) for batch in range(batches))
    return whole * in_epoch + sum(gan.due(batch, whole * batches + batch + 1, batch == rest - 1)
                                  for batch in range(rest))


def show_room(args, room, packed):
    """Print how much room a run takes and how much is free.

    Args:
        args: the options.
        room: the bytes of the run's folder, by part.
        packed: (path, bytes) of the packed array that the run will build; or None.
    """
    parts = ", ".join(f"{name} {megabytes(count)}" for name, count in room.items())
    print(f"room: about {megabytes(sum(room.values()))} in {args.output} ({parts})")
    if packed:
        print(f"room: {megabytes(packed[1])} in {packed[0]}, the packed pictures")
    if Records(args.output).exists() and not (args.resume or args.overwrite):
        print(f"note: {args.output} holds a run already; a run there wants --resume or --overwrite", file=sys.stderr)
    if args.resume and not Records(args.output).exists():
        print(f"note: there is no run in {args.output}; leave --resume out to start one", file=sys.stderr)
    for path, needed in ((args.output, sum(room.values())), *([packed] if packed else [])):
        place = next(each for each in (path.absolute(), *path.absolute().parents) if os.path.lexists(each))
        if path == args.output and not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
            print(f"note: {place} is no folder that can be written; choose another --output", file=sys.stderr)
        elif (free := shutil.disk_usage(place).free) < needed:
            print(f"note: only {megabytes(free)} are free in {place}; free some space, or choose another place",
                  file=sys.stderr)


def megabytes(count):
    """Bytes as text, in MB or GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.{count < 1e7:d}f} MB"


def duration(seconds):
    """Seconds as text, in seconds, minutes or hours."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
