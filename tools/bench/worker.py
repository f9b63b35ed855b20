"""The process that runs one way of a row when it is told to: ``worker.py ROW WAY BATCH FOLDER``."""

import functools
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.backend import runtime
from common.parallel import processes
from tools.bench import pair
from tools.bench.protocol import serve
from tools.bench.ways import (
    APART,
    GANS,
    LOOP,
    MEMORY,
    OURS,
    OURS_BF16,
    PAIR,
    PRODUCT,
    PRODUCTS,
    SIDE,
    TORCH,
    TORCHES,
    WRITTEN,
)


def prepare(row, way, batch, folder):
    """(facts to report, units of work in a run, the function that runs, the function that profiles it or None).

    Args:
        row, way: their names, see `ways`.
        batch: pictures in a batch.
        folder: of the pictures that the rows ``crop`` and ``loader`` read.
    """
    if way in TORCHES:
        if way != TORCH:
            runtime.keep_memory()
        import torch

        from tools.bench import torch_reference

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        return {"torch": torch.__version__}, 1, torch_reference.prepare(row, batch, way), None
    if row == "crop":
        from tools.bench import pictures

        return {}, *pictures.prepare_crop(way, folder), None
    if way == MEMORY:
        runtime.keep_memory = lambda: None
    if way == WRITTEN:
        import zlib  # noqa: F401  Paddle 2.6 crashes without it, see `common.backend.runtime`
    else:
        runtime.prepare()
    import paddle

    if row == "loader":
        from tools.bench import pictures

        return {}, *pictures.prepare_loader(way, folder, batch), None
    about = {"paddle": paddle.__version__}
    if way == PRODUCT:
        a = paddle.ones([SIDE, SIDE])
        return about, PRODUCTS, lambda: [paddle.matmul(a, a) for _ in range(PRODUCTS)], None
    if way == OURS:
        from tools.bench import profiling

        traffic = profiling.watch()
        return (about, 1, prepare_gan(row, False, batch, about),
                functools.partial(profiling.profile, traffic=traffic))
    if way == OURS_BF16:
        from common.backend import fast

        fast.use_bf16()
    if way in (PAIR, APART):
        return about, 1, pair.prepare(way, batch, lambda batch: prepare_gan(row, False, batch, about)), None
    return about, 1, prepare_gan(row, way in (WRITTEN, LOOP), batch, about), None


def prepare_gan(row, as_written, batch, about):
    """A recipe's iteration on a batch of random pictures; its floating-point operations go into ``about``."""
    import numpy as np
    import paddle

    from common import recipe
    from common.backend import fast

    name = GANS[row].recipe
    made = recipe.load(name).gan
    if as_written:
        from tools.bench import as_written as listings

        listings.undo()
        made = listings.LOOPS[name]
    gan = made.original(paddle.CPUPlace(), batch)
    about["gflop"] = gan.flop(batch) / 1e9
    about["fast operators"] = os.environ.get("GAN_FAST_OPS") != "0" and fast.available()
    random = np.random.RandomState(0)
    real = processes.share(gan.random_batch(batch, random))
    return lambda: gan.step(real, random)


if __name__ == "__main__":
    row, way, batch, folder = sys.argv[1:]
    prepared = prepare(row, way, int(batch), Path(folder))
    serve(*prepared)
    pair.end(prepared[2])
