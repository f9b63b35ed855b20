"""The ways to run an iteration, each with its environment, and the rows of the benchmark."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

from common.backend import runtime

HERE = Path(__file__).parent

# The ways' names in the JSON files
FLUID, FLUID_BEST = "fluid", "fluid, all threads"
WRITTEN, OURS, OURS_BF16, PRODUCT = "as written", "ours", "ours, bf16", "product"
TORCH, TORCH_LAST, TORCH_BF16 = "PyTorch", "PyTorch, channels-last", "PyTorch, bf16"
TORCH_KEPT = "PyTorch, memory kept"  # only in older files: TORCH's layout with TORCH_LAST's memory

ALONE, PAIR, APART = "one process", "two processes", "two processes apart"
FLUIDS, TORCHES = (FLUID, FLUID_BEST), (TORCH, TORCH_LAST, TORCH_BF16)
MEMORY, LOOP = "freed memory given back", "the loop as written"  # of `--settings`, but no environment variables
PRODUCTS = 4  # of 2048×2048 matrices in one turn
SIDE = 2048


class Row(NamedTuple):
    """A training iteration to measure."""

    title: str
    batch: int
    recipe: str


GANS = {"book": Row("book 09.gan", 128, "book"), "note6": Row("note 6", 128, "note6"),
        "cgan": Row("conditional", 32, "cgan"), "celeba": Row("CelebA", 128, "faces")}
ROWS = (*GANS, "processes", "crop", "loader")
OF_FLUID = ("book", "note6")  # the tutorials that were written for fluid


def title(way, result):
    """A way's name in the tables.

    Args:
        way: its name in the JSON files.
        result: a row's result, with versions and number of threads.
    """
    paddle, torch, fluid = (result.get(name) or "" for name in ("paddle", "torch", "fluid"))
    threads = f"{result['threads']} thread" + "s" * (result["threads"] > 1)
    return {
        FLUID: f"original, Paddle {fluid}",
        FLUID_BEST: "original at its best",
        WRITTEN: f"listing, Paddle {paddle}",
        TORCH: f"PyTorch {torch.partition('+')[0]}",
        TORCH_LAST: "PyTorch, channels-last",
        TORCH_BF16: "PyTorch, bf16 autocast",
        OURS: f"ours, {threads}",
        OURS_BF16: "ours, --amp",
    }.get(way, way)


def command(row, way, batch, folder, python=None):
    """The command of a process that runs one way of a row."""
    if way in FLUIDS:
        return [python, str(HERE / "fluid_reference.py"), row, str(batch)]
    return [python or sys.executable, str(HERE / "worker.py"), row, way, str(batch), str(folder)]


def environment(way, threads=None, settings=None):
    """The environment of a way's process.

    Args:
        way: its name. `FLUID` and the listing keep their Paddle's default, which is one thread. `FLUID_BEST` gets all
            threads, and on AMD the same setting for MKL as ours.
        threads: how many do the arithmetic; None: all.
        settings: further environment variables.
    """
    from tools.bench.pair import environment as of_pair

    fast = runtime.fast_settings()
    env = {name: value for name, value in os.environ.items()
           if name not in ("GAN_FAST_OPS", *fast, "MKL_DEBUG_CPU_TYPE")}
    if way == WRITTEN:
        env["GAN_FAST_OPS"] = "0"
    elif way != FLUID:
        env["OMP_NUM_THREADS"] = str(threads or runtime.cores())
    if way == FLUID_BEST and "MKL_DEBUG_CPU_TYPE" in fast:
        env["MKL_DEBUG_CPU_TYPE"] = fast["MKL_DEBUG_CPU_TYPE"]
    return {**env, **of_pair(way), **(settings or {})}
