"""Pictures from a trained generator: what both ``generate.py`` commands share."""

from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import replacing
from common.training import checkpoint
from common.training.command import Parser, positive, seed
from common.training.run_folder import latest_checkpoint, read_config

STEPS = 10  # pictures of an interpolation, both ends among them


def parser(run, output):
    """The options of a ``generate.py``.

    Args:
        run, output: default folders.
    """
    options = Parser(prog="generate.py", description="Draw pictures from a trained generator.")
    add = options.add_argument
    add("--run", type=Path, default=Path(run), metavar="DIR", help="folder of the trained run")
    add("--checkpoint", type=Path, metavar="FILE", help="one of the run's checkpoints (default: the newest)")
    add("--count", type=positive, default=64, help="how many pictures, or rows with --interpolate")
    add("--seed", type=seed, default=1, metavar="N", help="of the noise")
    add("--output", type=Path, default=Path(output), metavar="DIR", help="folder for the pictures")
    add("--interpolate", action="store_true",
        help=f"rows of {STEPS} pictures, each from one noise to another, in place of single ones")
    add("--use_gpu", action="store_true", help="draw on CUDAPlace(0) instead of CPUPlace")
    return options


def read_run(run, path=None):
    """The options and the arrays of a run.

    Args:
        run: its folder.
        path: of a checkpoint; the newest when None.

    Returns:
        (config, arrays), the config being the checkpoint's own.

    Raises:
        UserError: there is no run, no checkpoint, or a damaged one.
    """
    read_config(run)
    arrays, record = checkpoint.load(path or latest_checkpoint(run))
    return record["config"], arrays


def interpolation(ends):
    """Straight lines of `STEPS` points through the noise, each from one row to the next: [2·n, …] to [n·STEPS, …]."""
    ends = ends.reshape([-1, 2, *ends.shape[1:]])
    weights = np.linspace(0, 1, STEPS, dtype="float32").reshape([1, STEPS] + [1] * (ends.ndim - 2))
    return ((1 - weights) * ends[:, :1] + weights * ends[:, 1:]).reshape([-1, *ends.shape[2:]])


def in_batches(sample, noise, size=128):
    """``sample`` called on at most ``size`` rows of noise at a time, joined again."""
    return np.concatenate([sample(noise[start:start + size]) for start in range(0, len(noise), size)])


def write(output, pictures, columns=None):
    """Write a grid, single pictures and the raw array.

    Args:
        output: a folder, made when missing.
        pictures: [n, H, W], [n, H, W, 1] or [n, H, W, 3], float32 in [-1, 1].
        columns: of the grid; see `common.plotting.layout` when None.

    Returns:
        The paths of the grid and of the array.

    Raises:
        UserError: the folder holds pictures already, or cannot be written.
    """
    from common import plotting  # here, because matplotlib would hold up --help

    output = Path(output)
    grid, raw = output / "grid.png", output / "generated.npy"
    if grid.exists():  # it comes last: without it, what is there is of a command that was broken off
        raise UserError(f"{output} holds generated pictures already; choose another --output")
    drawn = pictures[..., 0] if pictures.shape[3:] == (1,) else pictures
    for number, picture in enumerate(drawn, 1):
        plotting.save_png(output / f"generated_{number}.png", picture)
    with replacing(raw) as temporary:
        np.save(temporary, pictures)
    plotting.save_grid(grid, pictures, columns and (-(-len(pictures) // columns), columns))
    return grid, raw
