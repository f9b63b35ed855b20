"""Measure the rows of the benchmark: as they are, by batch and threads, and without one setting at a time."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from common.backend import runtime
from tools.bench.pictures import CROP
from tools.bench.turns import Worker, measure
from tools.bench.ways import (
    ALONE,
    APART,
    FLUIDS,
    GANS,
    LOOP,
    MEMORY,
    OF_FLUID,
    OURS,
    OURS_BF16,
    PAIR,
    PRODUCT,
    TORCH,
    TORCHES,
    WRITTEN,
)

# `--settings`: the book's iteration without one setting; way → environment
SETTINGS = {
    "Paddle's own operators": {"GAN_FAST_OPS": "0"},
    "MKL's own choice of path": {"MKL_DEBUG_CPU_TYPE": "0"},
    "the multi-thread interpreter": {"FLAGS_enable_pir_in_executor_trace_run": "0",
                                     "FLAGS_new_executor_serial_run": "0"},
    "one thread": {"OMP_NUM_THREADS": "1"},
    MEMORY: {},
    LOOP: {},
}


def measure_gan(row, options, batch=None, threads=None, stock=True):
    """Measure one recipe's iteration.

    Args:
        row: of `GANS`.
        options: the command's options.
        batch: pictures in a batch; None: as the options say, else the tutorial's number.
        threads: how many; None: all.
        stock: whether to measure fluid, the listing and `--amp` too, and the operators' shares.
    """
    batch = batch or options.batch or GANS[row].batch
    fluid = FLUIDS if stock and options.fluid and row in OF_FLUID else ()
    torch = TORCHES if options.torch else ()
    pythons = {**dict.fromkeys(fluid, options.fluid), **dict.fromkeys(torch, options.torch)}
    ours = (OURS, OURS_BF16) if stock and runtime.bf16_processor() else (OURS,)
    workers = {way: Worker(row, way, batch, threads=threads, python=pythons.get(way))
               for way in (*fluid, *([WRITTEN] if stock else []), *torch, *ours, PRODUCT)}
    threads = threads or runtime.cores()
    about, measured = measure(f"{row}, batch {batch}, {threads} threads", workers, options,
                              last=OURS if stock else None)
    return {"row": row, "batch": batch, "threads": threads, "gflop": about[OURS]["gflop"],
            "fast operators": about[OURS]["fast operators"], "paddle": about[OURS]["paddle"],
            "torch": about.get(TORCH, {}).get("torch"), "fluid": about[fluid[0]]["fluid"] if fluid else None,
            **measured}


def measure_growth(options, results):
    """Measure iterations of each chosen recipe by threads, and the book's by batch; both in ascending order.

    Args:
        options: the command's options.
        results: ``batch`` and ``threads``, each a list that a result goes into as soon as it is there.
    """
    base = options.batch or GANS["book"].batch
    for batch in [base, 2 * base] if options.quick else sorted({32, 64, 128, 256, 512, base}):
        results["batch"].append(measure_gan("book", options, batch, stock=False))
    whole = {"book": next(result for result in results["batch"] if result["batch"] == base)}  # with all threads
    for row in [row for row in GANS if row in options.rows] or ["book"]:
        for threads in (2 ** k for k in range(10) if 2 ** k < runtime.cores()):
            results["threads"].append(measure_gan(row, options, threads=threads, stock=False))
        results["threads"].append(whole.get(row) or measure_gan(row, options, stock=False))


def measure_operators(row, options):
    """Measure the operators of a recipe's iteration and the memory's copy rate, with one thread and with two."""
    batch, counts = options.batch or GANS[row].batch, (1, 2)
    workers = {str(count): Worker(row, OURS, batch, threads=count) for count in counts}
    about, measured = measure(f"{row}, batch {batch}, operators by threads", workers, options, word="profile")
    return {"row": row, "batch": batch, "paddle": about["1"]["paddle"], "profiles": measured["seconds"],
            "disturbed": measured["disturbed"], "copies": {str(count): copy_rate(count) for count in counts}}


def copy_rate(threads, size=1 << 26, turns=7):
    """Bytes a second, read plus written, that threads copy in the fastest turn; each thread copies ``size`` bytes."""
    pairs = [(np.ones(size, "uint8"), np.ones(size, "uint8")) for _ in range(threads)]
    took = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(turns):
            start = time.perf_counter()
            list(pool.map(lambda pair: np.copyto(*pair), pairs))
            took.append(time.perf_counter() - start)
    return 2 * size * threads / min(took)


def measure_settings(options):
    """Measure the book's iteration without one setting at a time."""
    batch = options.batch or GANS["book"].batch
    ways = {OURS: {}, **SETTINGS}
    if "MKL_DEBUG_CPU_TYPE" not in runtime.fast_settings():  # the setting exists only on AMD
        del ways["MKL's own choice of path"]
    workers = {way: Worker("book", way, batch, settings=settings) for way, settings in ways.items()}
    return {"batch": batch, "threads": runtime.cores(), **measure("settings", workers, options)[1]}


def measure_processes(options, _folder):
    """Measure two processes of one thread beside one process of two: the recipe that several processes can train."""
    row = "celeba"
    batch = max(2, options.batch or GANS[row].batch)
    workers = {way: Worker(row, way, batch, threads=threads) for way, threads in ((ALONE, 2), (PAIR, 1), (APART, 1))}
    return {"row": "processes", "title": GANS[row].title, "batch": batch,
            **measure(f"processes, batch {batch}", workers, options)[1]}


def measure_crop(options, folder):
    """Measure the crop tool."""
    workers = {way: Worker("crop", way, folder=folder) for way in CROP}
    return {"row": "crop", "pictures": options.count, "threads": runtime.cores(),
            **measure("crop", workers, options)[1]}


def measure_loader(options, folder):
    """Measure CelebA's loader."""
    from common.crop import Box, crop_folder
    from common.pictures.picture_files import PictureFiles

    if not (folder / "imgs").exists():
        crop_folder(PictureFiles(folder / "img_align_celeba"), folder / "imgs", Box(), progress=False)
    batch = options.batch or GANS["celeba"].batch
    workers = {way: Worker("loader", way, batch, folder) for way in (WRITTEN, OURS)}
    return {"row": "loader", "batch": batch, "pictures": options.count,
            **measure(f"loader, batch {batch}", workers, options)[1]}
