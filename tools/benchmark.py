"""How fast it is: the tutorials' loops as written, this project's, and the same mathematics in PyTorch, in turn.

Each way runs in a process of its own. The processes take turns, one iteration each, so that all of them see the
same moods of the machine; medians and ratios are of these. ``docs/performance.md`` explains the figures.
"""

import contextlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import deque
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.backend import runtime
from common.errors import UserError, run_command

WRITTEN, OURS, TORCH, PRODUCT = "as written", "ours", "PyTorch", "product"
TORCH_KEPT = "PyTorch, memory kept"  # with the C library told to keep what is freed, as it is for ours
COLOURS = {WRITTEN: "tab:blue", TORCH: "tab:orange", OURS: "tab:green"}
REST = 0.3  # seconds after a turn, in which the threads of its process cease to wait actively
DISTURBED = 0.1  # cores that other processes take at most in a good turn
PRODUCTS = 4  # of 2048×2048 matrices in one turn
SIDE = 2048


class Row(NamedTuple):
    """A training iteration to measure."""

    title: str
    batch: int


GANS = {"book": Row("book 09.gan", 128), "note6": Row("note 6", 128), "cgan": Row("conditional", 32),
        "celeba": Row("CelebA", 128)}

# The crop row: way → (short description, the decoding that it cannot do without)
CROP = {
    "as written": ("the tutorial's script, 8 threads", None),
    "same pixels": ("folder to folder, the same pixels", "decoding"),
    "fast": ("folder to folder, `--fast`", "half decoding"),
    "packed": ("archive to packed cache, the same pixels", "decoding"),
    "packed fast": ("archive to packed cache, `--fast`", "half decoding"),
    "decoding": ("decoding alone", None),
    "half decoding": ("decoding alone, at half size", None),
}
ROWS = (*GANS, "crop", "loader")

# `--settings`: the book's iteration without one thing, way → environment
MEMORY, LOOP = "freed memory given back", "the loop as written"
SETTINGS = {
    "Paddle's own operators": {"GAN_FAST_OPS": "0"},
    "MKL's own choice of path": {"MKL_DEBUG_CPU_TYPE": "0"},
    "the multi-thread interpreter": {"FLAGS_enable_pir_in_executor_trace_run": "0",
                                     "FLAGS_new_executor_serial_run": "0"},
    "one thread": {"OMP_NUM_THREADS": "1"},
    MEMORY: {},
    LOOP: {},
}


# ---- the processes that do the work ------------------------------------------------------------------------


def work(row, way, batch, folder):
    """Prepare, say so, then run once for each line on stdin and answer with the seconds of each unit of work."""
    about, units, run = prepare(row, way, batch, Path(folder))
    answer(about)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        answer((time.perf_counter() - start) / units)


def answer(value):
    """A line of JSON behind a mark that nothing else prints."""
    print(f"@{json.dumps(value)}", flush=True)


def prepare(row, way, batch, folder):
    """(facts to report, units of work in a run, the run)."""
    if way in (TORCH, TORCH_KEPT):
        if way == TORCH_KEPT:
            runtime.keep_memory()
        import torch
        import torch_reference

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        return {"torch": torch.__version__}, 1, torch_reference.prepare(row, batch)
    if row == "crop":
        return {}, len(list((folder / "img_align_celeba").iterdir())), prepare_crop(way, folder)
    if way == MEMORY:
        runtime.keep_memory = lambda: None
    if way == WRITTEN:
        import zlib  # noqa: F401  Paddle 2.6 crashes without it, see `common.backend.runtime`
    else:
        runtime.prepare()
    import paddle

    if row == "loader":
        return {}, *prepare_loader(way, folder, batch)
    about = {"paddle": paddle.__version__}
    if way == PRODUCT:
        a = paddle.ones([SIDE, SIDE])
        return about, PRODUCTS, lambda: [paddle.matmul(a, a) for _ in range(PRODUCTS)]
    return about, *prepare_gan(row, way in (WRITTEN, LOOP), batch, about)


def prepare_gan(row, as_written, batch, about):
    """A recipe's iteration on a batch of random pictures; its floating-point operations go into ``about``."""
    import numpy as np
    import paddle

    from common.backend import fast
    from dygraph_celeba.gan import FaceGAN
    from static_mnist.book import BookGAN
    from static_mnist.cgan import CGAN
    from static_mnist.note6 import Note6GAN

    classes = {"book": BookGAN, "note6": Note6GAN, "cgan": CGAN, "celeba": FaceGAN}
    if as_written:
        import as_written as listings

        listings.undo()
        classes = {"book": listings.Book, "note6": listings.Note6, "cgan": listings.Conditional,
                   "celeba": listings.Faces}
    options = {"note6": {"batch_size": batch}, "cgan": {"shape": (28, 28, 1), "classes": "0123456789"}}
    gan = classes[row](paddle.CPUPlace(), **options.get(row, {}))
    about["gflop"] = gan.flop(batch) / 1e9
    about["fast operators"] = fast._here(paddle.zeros([1])) if row == "celeba" else (
        os.environ.get("GAN_FAST_OPS") != "0" and fast.available())
    random = np.random.RandomState(0)
    real = random.uniform(-1, 1, [batch, 784]).astype("float32")
    if row == "cgan":
        real = real, np.arange(batch) % 10
    if row == "celeba":
        real = paddle.rand([batch, 3, 64, 64])
    return 1, lambda: gan.step(real, random)


def prepare_crop(way, folder):
    """All pictures, once."""
    import cv2
    import numpy as np

    from common import crop
    from common.data import packed
    from common.data.picture_files import PictureFiles

    outputs = (Path(tempfile.mkdtemp(dir=folder)) / "imgs.npy" for _ in iter(int, 1))
    source, archive = PictureFiles(folder / "img_align_celeba"), folder / "img_align_celeba.zip"

    def decode(flag):
        crop.in_threads(lambda name: cv2.imdecode(np.frombuffer(source.read(name), np.uint8), flag),
                        deque(source.names), [], progress=False)

    return {
        # y=10, the tutorial's prose: the listing's own 20 leaves six rows black, which is another picture
        "as written": lambda: crop.crop_like_the_tutorial(source.path, next(outputs), y=10),
        "same pixels": lambda: crop.crop_folder(source, next(outputs), crop.Box(), progress=False),
        "fast": lambda: crop.crop_folder(source, next(outputs), crop.Box(), fast=True, progress=False),
        "packed": lambda: packed.open_packed(archive, next(outputs), progress=False),
        "packed fast": lambda: packed.open_packed(archive, next(outputs), progress=False, fast=True),
        "decoding": lambda: decode(cv2.IMREAD_COLOR),
        "half decoding": lambda: decode(cv2.IMREAD_REDUCED_COLOR_2),
    }[way]


def prepare_loader(way, folder, batch):
    """(batches, one epoch of them)."""
    if way == WRITTEN:
        from as_written import loader

        batches = loader(folder / "imgs", batch)
        return len(batches), lambda: [None for _ in batches]
    from common.data.packed import open_packed
    from dygraph_celeba.data import Faces, PackedDataset

    faces = Faces(PackedDataset(open_packed(folder / "imgs", progress=False)), batch)
    return len(faces), lambda: [None for _ in faces.epoch(0)]


# ---- taking turns ------------------------------------------------------------------------------------------


class Worker:
    """A process that runs one way of a row when it is told to.

    Args:
        row, way, batch, folder: of the work.
        threads: of the arithmetic; the way as written takes what Paddle takes.
        python: the interpreter.
        settings: further environment.
    """

    def __init__(self, row, way, batch=1, folder=".", threads=None, python=sys.executable, settings=None):
        self.name = f"{row}, {way}"
        env = {name: value for name, value in os.environ.items()
               if name not in ("GAN_FAST_OPS", *runtime.fast_settings(), "MKL_DEBUG_CPU_TYPE")}
        if way == WRITTEN:
            env["GAN_FAST_OPS"] = "0"
        else:
            env["OMP_NUM_THREADS"] = str(threads or runtime.cores())
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in `close`
        self.process = subprocess.Popen(
            [python, __file__, "--worker", row, way, str(batch), str(folder)], env={**env, **(settings or {})},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)

    def answer(self):
        """The next answer.

        Raises:
            UserError: the process has ended.
        """
        for line in self.process.stdout:
            if line.startswith("@"):
                return json.loads(line[1:])
        self.errors.seek(0)
        last = [line.strip() for line in self.errors if line.strip()][-1:] or [f"exit code {self.process.wait()}"]
        raise UserError(f"the benchmark of {self.name} has failed: {last[0]}; leave its row out with --rows")

    def turn(self):
        """Run once: (seconds of a unit of work, cores that other processes took meanwhile)."""
        start, before = time.perf_counter(), self.others()
        with contextlib.suppress(BrokenPipeError):  # it has ended: `answer` says so
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        seconds = self.answer()
        return seconds, (self.others() - before) / (time.perf_counter() - start)

    def others(self):
        """Processor seconds that all other processes have had, and those that a host took away; Linux only."""
        try:
            whole = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
            own = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[11:15]
        except OSError:
            return 0.0
        user, nice, system, _idle, _waiting, *interrupts = map(int, whole)
        return (user + nice + system + sum(interrupts) - sum(map(int, own))) / os.sysconf("SC_CLK_TCK")

    def close(self):
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.errors.close()


def measure(title, workers, options):
    """Let workers take turns: one each that does not count, then as many as there are rounds.

    Args:
        title: for progress lines.
        workers: way → `Worker`.
        options: ``rounds``, and ``patience``, the seconds to spend at most on waiting until other processes are quiet
            and on taking turns again that they disturbed.

    Returns:
        (way → facts that its worker reported, the measured: ``seconds``, way → those of each turn, and
        ``disturbed``, the number of turns among them that others disturbed all the same).
    """
    left = options.patience

    def turn(worker):
        """(seconds of a unit of work, whether others disturbed it): a quiet one if patience lasts."""
        nonlocal left
        while True:
            start = time.perf_counter()
            time.sleep(REST)
            before = worker.others()
            time.sleep(REST)
            quiet = worker.others() - before <= DISTURBED * REST
            if quiet or left <= 0:
                took, others = worker.turn()
                if others <= DISTURBED or left <= 0:
                    return took, others > DISTURBED
            left -= time.perf_counter() - start

    try:
        about = {way: worker.answer() for way, worker in workers.items()}
        for worker in workers.values():
            worker.turn()
        seconds, disturbed = {way: [] for way in workers}, 0
        for number in range(options.rounds):
            for way, worker in workers.items():
                took, bad = turn(worker)
                seconds[way].append(took)
                disturbed += bad
            note(f"{title}: round {number + 1} of {options.rounds}: " + ", ".join(
                f"{way} {short(values[-1])}" for way, values in seconds.items())
                + (f"; {disturbed} turns disturbed by other processes" if disturbed else ""))
        return about, {"seconds": seconds, "disturbed": disturbed}
    finally:
        for worker in workers.values():
            worker.close()


def note(text):
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


# ---- the rows ----------------------------------------------------------------------------------------------


def measure_gan(row, options, batch=None, threads=None, stock=True):
    """One recipe's iteration."""
    batch = batch or options.batch or GANS[row].batch
    torch = [TORCH, *([TORCH_KEPT] if stock else [])] if options.torch else []
    ways = [*([WRITTEN] if stock else []), OURS, *torch, PRODUCT]
    workers = {way: Worker(row, way, batch, threads=threads, python=options.torch if way in torch else sys.executable)
               for way in ways}
    threads = threads or runtime.cores()
    about, measured = measure(f"{row}, batch {batch}, {threads} threads", workers, options)
    return {"row": row, "batch": batch, "threads": threads, "gflop": about[OURS]["gflop"],
            "fast operators": about[OURS]["fast operators"], "paddle": about[OURS]["paddle"],
            "torch": about.get(TORCH, {}).get("torch"), **measured}


def measure_growth(options):
    """The book's iteration by batch and by threads, each in order of size."""
    base = options.batch or GANS["book"].batch
    batches = [base, 2 * base] if options.quick else sorted({32, 64, 128, 256, 512, base})
    threads = [2 ** k for k in range(10) if 2 ** k < runtime.cores()]
    by_threads = [measure_gan("book", options, base, count, stock=False) for count in threads]
    by_batch = [measure_gan("book", options, batch, stock=False) for batch in batches]
    return {"batch": by_batch, "threads": [*by_threads, *(each for each in by_batch if each["batch"] == base)]}


def measure_settings(options):
    """The book's iteration without one thing at a time."""
    batch = options.batch or GANS["book"].batch
    ways = {OURS: {}, **SETTINGS}
    if "MKL_DEBUG_CPU_TYPE" not in runtime.fast_settings():  # not an AMD
        del ways["MKL's own choice of path"]
    workers = {way: Worker("book", way, batch, settings=settings) for way, settings in ways.items()}
    return {"batch": batch, "threads": runtime.cores(), **measure("settings", workers, options)[1]}


def measure_crop(options, folder):
    """The crop tool."""
    workers = {way: Worker("crop", way, folder=folder) for way in CROP}
    return {"row": "crop", "pictures": options.count, "threads": runtime.cores(),
            **measure("crop", workers, options)[1]}


def measure_loader(options, folder):
    """CelebA's loader."""
    from common.crop import Box, crop_folder
    from common.data.picture_files import PictureFiles

    if not (folder / "imgs").exists():
        crop_folder(PictureFiles(folder / "img_align_celeba"), folder / "imgs", Box(), progress=False)
    batch = options.batch or GANS["celeba"].batch
    workers = {way: Worker("loader", way, batch, folder) for way in (WRITTEN, OURS)}
    return {"row": "loader", "batch": batch, "pictures": options.count,
            **measure(f"loader, batch {batch}", workers, options)[1]}


def make_pictures(folder, count, source=None):
    """Write ``img_align_celeba/`` and ``img_align_celeba.zip`` of 178×218 JPEG files, about 7 kB each as CelebA's.

    Args:
        folder: where.
        count: how many.
        source: archive to take them from; else they are cut out of the photographs that come with scikit-image.

    Raises:
        UserError: there are not so many pictures in the archive.
    """
    import numpy as np
    from PIL import Image

    pictures = folder / "img_align_celeba"
    pictures.mkdir()
    if source:
        from common.data.picture_files import PictureFiles

        whole = PictureFiles(source)
        if len(whole.names) < count:
            raise UserError(f"{source} has {len(whole.names)} pictures only; choose a smaller --count")
        for name in whole.names[:count]:
            (pictures / name).write_bytes(whole.read(name))
    else:
        from skimage import data

        random = np.random.RandomState(0)
        photographs = [data.astronaut(), data.chelsea(), data.coffee()]
        for number in range(count):
            photograph = photographs[number % 3]
            scale = random.uniform(0.8, 1.3)
            width, height = round(178 * scale), round(218 * scale)
            left = random.randint(photograph.shape[1] - width + 1)
            top = random.randint(photograph.shape[0] - height + 1)
            picture = Image.fromarray(photograph[top:top + height, left:left + width])
            picture.resize((178, 218), Image.BICUBIC).save(pictures / f"{number + 1:06d}.jpg", quality=75)
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for path in sorted(pictures.iterdir()):
            archive.write(path, f"img_align_celeba/{path.name}")


# ---- tables ------------------------------------------------------------------------------------------------


def median(values):
    """The median, and the quartiles around it."""
    import numpy as np

    return np.quantile(values, [0.5, 0.25, 0.75])


def ratio(other, ours):
    """How many times as long ``other`` takes as ``ours``: median and quartiles over the rounds."""
    return median([a / b for a, b in zip(other, ours, strict=True)])


def short(seconds):
    """A time, or a median with its quartiles, to three digits in a unit that suits it."""
    first = seconds if isinstance(seconds, float) else seconds[0]
    unit, factor = (" s", 1) if first >= 0.1 else (" ms", 1e3) if first >= 1e-3 else (" µs", 1e6)
    return figures(seconds, unit, factor, max(0, 3 - len(str(int(first * factor)))))


def times(values):
    """Ratios."""
    return figures(values, "×")


def percent(values):
    """Shares."""
    return figures(values, " %", 100, 0)


def figures(values, unit, factor=1, digits=2):
    """``median unit (quartile–quartile)``, or a single number."""
    if isinstance(values, float):
        return f"{values * factor:.{digits}f}{unit}"
    middle, low, high = (f"{value * factor:.{digits}f}" for value in values)
    return f"{middle}{unit} ({low}–{high})"


def table(header, lines):
    """A table that reads well on a terminal and is Markdown too."""
    lines = [header, *[[str(cell) for cell in line] for line in lines]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
            for line in lines]
    return "\n".join([text[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *text[1:]])


def share_of_product(result):
    """(GFLOP a second of the product, the share of it that our iteration reaches: median and quartiles)."""
    product = result["seconds"][PRODUCT]
    rate = 2 * SIDE ** 3 / 1e9 / median(product)[0]
    needed = result["gflop"] / (2 * SIDE ** 3 / 1e9)  # products that are as much work as an iteration
    return rate, median([needed * a / b for a, b in zip(product, result["seconds"][OURS], strict=True)])


def compared(result):
    """Cells of the ways beside ours: times, then ratios to ours."""
    seconds = result["seconds"]
    ways = [way for way in (WRITTEN, TORCH, TORCH_KEPT) if way in seconds]
    return {**{way: short(median(seconds[way])) for way in (*ways, OURS)},
            **{f"× {way}": times(ratio(seconds[way], seconds[OURS])) for way in ways}}


def gan_table(results):
    """Training iterations."""
    header = ["iteration", "batch", WRITTEN, OURS, TORCH, f"× {WRITTEN}", f"× {TORCH}", f"× {TORCH_KEPT}", "GFLOP",
              "of the product"]
    lines = []
    for result in results:
        cells = compared(result)
        rate, share = share_of_product(result)
        lines.append([GANS[result["row"]].title, result["batch"], *(cells.get(name, "–") for name in header[2:8]),
                      f"{result['gflop']:.1f}", f"{percent(share)} of {rate:.0f} GFLOP/s"])
    return table(header, lines)


def crop_table(result):
    """Cropping: time a picture, ratio to the tutorial's script, share of decoding's own time."""
    seconds = result["seconds"]
    lines = []
    for way, (title, needs) in CROP.items():
        share = f"{median([a / b for a, b in zip(seconds[needs], seconds[way], strict=True)])[0]:.0%}" if needs else "–"
        faster = "–" if way == WRITTEN else times(ratio(seconds[WRITTEN], seconds[way]))
        lines.append([title, short(median(seconds[way])), faster, share])
    return table([f"cropping, {result['pictures']} pictures", "a picture", "× the script", "of which decoding"], lines)


def loader_table(result, celeba):
    """Loading: time a batch, and what it is to a training iteration."""
    seconds = result["seconds"]
    lines = []
    for way, title in ((WRITTEN, "the tutorial's: scikit-image, two workers"), (OURS, "packed cache, no worker")):
        share = f"{median(seconds[way])[0] / median(celeba['seconds'][OURS])[0]:.1%}" if celeba else "–"
        faster = "–" if way == WRITTEN else times(ratio(seconds[WRITTEN], seconds[way]))
        lines.append([title, short(median(seconds[way])), faster, share])
    return table([f"loading, batch {result['batch']}", "a batch", "× the tutorial's", "of CelebA's iteration"], lines)


def growth_table(results):
    """The book's iteration with other batches and threads."""
    lines = []
    for result in results["threads"][:-1] + results["batch"]:
        cells = compared(result)
        rate, share = share_of_product(result)
        speed = result["batch"] / median(result["seconds"][OURS])[0]
        lines.append([result["batch"], result["threads"], cells[OURS], f"{speed:.0f}", cells.get(TORCH, "–"),
                      cells.get(f"× {TORCH}", "–"), f"{percent(share)} of {rate:.0f} GFLOP/s"])
    return table(["batch", "threads", OURS, "pictures/s", TORCH, f"× {TORCH}", "of the product"], lines)


def settings_table(result):
    """The book's iteration without one thing."""
    seconds = result["seconds"]
    return table(["book's iteration", "seconds", "× ours"], [
        [way if way == OURS else f"with {way}", short(median(values)),
         "–" if way == OURS else times(ratio(values, seconds[OURS]))] for way, values in seconds.items()])


def show(report):
    """Print all tables."""
    machine = report["machine"]
    versions = [f"{name} {machine[name]}" for name in ("python", "paddle", "torch") if machine.get(name)]
    print(f"\n{machine['cpu']}, {machine['cores']} cores, {machine['system']}, {', '.join(versions)}"
          f"\n{report['rounds']} rounds: median (quartiles)")
    rows = {result["row"]: result for result in report["rows"]}
    gans = [rows[row] for row in GANS if row in rows]
    for text in (gan_table(gans) if gans else "", crop_table(rows["crop"]) if "crop" in rows else "",
                 loader_table(rows["loader"], rows.get("celeba")) if "loader" in rows else "",
                 growth_table(report["growth"]) if report["growth"] else "",
                 settings_table(report["settings"]) if report["settings"] else ""):
        if text:
            print(f"\n{text}")
    measured = [*report["rows"], *report["growth"].get("batch", []), *report["growth"].get("threads", [])[:-1],
                *([report["settings"]] if report["settings"] else [])]
    turns = sum(len(values) for result in measured for values in result["seconds"].values())
    print(f"\n{sum(result['disturbed'] for result in measured)} of {turns} turns were disturbed by other processes, "
          f"which took more than {DISTURBED} of a core")
    if not all(result["fast operators"] for result in gans):
        print("\nthe fast operators could not be built: ours are Paddle's own here")


def plot(report, path):
    """Draw the speeds beside the loops as written, and how the book grows, if measured."""
    from common.files import replacing
    from common.plotting import plt

    gans = [result for result in report["rows"] if result["row"] in GANS]
    panels = bool(gans) + len(report["growth"])
    figure, axes = plt.subplots(1, panels, figsize=(5 * panels, 4), squeeze=False, layout="constrained")
    axes = list(axes[0])
    if gans:
        axis = axes.pop(0)
        ways = [way for way in (WRITTEN, TORCH, OURS) if way in gans[0]["seconds"]]
        for number, way in enumerate(ways):
            speed = [median(r["seconds"][WRITTEN])[0] / median(r["seconds"][way])[0] for r in gans]
            bars = axis.bar([i + (number - 1) * 0.27 for i in range(len(gans))], speed, 0.25, label=way,
                            color=COLOURS[way])
            axis.bar_label(bars, fmt="%.1f")
        axis.set_xticks(range(len(gans)), [GANS[r["row"]].title for r in gans])
        axis.set_title("iterations a second, as written = 1")
        axis.set_ylim(0, axis.get_ylim()[1] * 1.15)  # room for the legend above the bars
        axis.legend(loc="upper center", ncols=len(ways))
    for (name, results), axis in zip(report["growth"].items(), axes, strict=True):
        for way in (OURS, TORCH):
            if way in results[0]["seconds"]:
                x = [r[name] for r in results]
                axis.plot(x, [r["batch"] / median(r["seconds"][way])[0] for r in results], "o-", label=way,
                          color=COLOURS[way])
        axis.set_xscale("log", base=2)
        axis.set_xticks(x, x)
        axis.set_title(f"book: pictures a second by {name}")
        axis.set_xlabel(name)
        axis.set_ylim(0, axis.get_ylim()[1] * 1.1)
        axis.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)
    plt.close(figure)


# ---- where a run's time went ---------------------------------------------------------------------------------


def show_run(folder):
    """Print where the time of a training run went, from its ``timing.jsonl``.

    Raises:
        UserError: there is none, or too little in it.
    """
    from common.training.run_folder import time_spent

    if not (spent := time_spent(folder)):
        raise UserError(f"{folder / 'timing.jsonl'} is missing or has too few lines to tell anything; "
                        "name the folder of a run, or train longer")
    elapsed, steps, parts = spent
    titles = {"step": "training", "reader": "reader", "records": "pictures and messages",
              "all else": "logging and all else"}
    print(f"{folder}: {steps} iterations in {elapsed:.0f} s, {elapsed / steps:.3f} s each, "
          f"{parts['step'] / steps:.3f} s of it training")
    print(table(["part", "share", "seconds an iteration"], [
        [titles.get(name, name), f"{value / elapsed:.2%}", f"{value / steps:.5f}"] for name, value in parts.items()]))


# ---- the command -----------------------------------------------------------------------------------------------


def parse(argv):
    """The command's options."""
    from common.training.command import Parser, positive

    parser = Parser(prog="benchmark.py", description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--rows", nargs="+", choices=ROWS, metavar="ROW", default=list(ROWS), help="of " + ", ".join(ROWS))
    add("--rounds", type=positive, default=7, help="turns of each way, after one to warm up")
    add("--patience", type=int, default=60, metavar="SECONDS",
        help="to spend at most for each row on waiting until other processes are quiet, and on disturbed turns")
    add("--growth", action="store_true", help="the book with batches of 32 to 512, and with 1 to all threads")
    add("--settings", action="store_true", help="the book without one setting or fast path at a time")
    add("--quick", action="store_true", help="tiny sizes, one round: shows that it works, the figures mean nothing")
    add("--torch", metavar="PYTHON", help="interpreter that has PyTorch; by default this one, if it has")
    add("--batch", type=positive, metavar="N", help="another batch size than the tutorials'")
    add("--count", type=positive, default=2000, help="pictures to crop and to load")
    add("--pictures", type=Path, metavar="ARCHIVE", help="img_align_celeba.zip, to crop and load real pictures")
    add("--json", type=Path, metavar="FILE", help="write all figures there")
    add("--plot", type=Path, metavar="FILE", help="draw them there")
    add("--run", type=Path, metavar="DIR", help="only print where the time of the training run in DIR went")
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.batch, options.count, options.patience = 1, 4, 24, 0
    return options


def find_torch(python):
    """The interpreter that has PyTorch, or None.

    Raises:
        UserError: the one that was named has not.
    """
    if python is None:
        if importlib.util.find_spec("torch"):
            return sys.executable
        note("PyTorch is not installed: nothing to compare with. pip install torch (its CPU build is enough) here, "
             "or in another environment that --torch names the interpreter of")
        return None
    try:
        subprocess.run([python, "-c", "import torch"], check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError):
        raise UserError(f"--torch {python}: this is no interpreter that can import torch; "
                        "pip install torch there, or leave the option out") from None
    return shutil.which(python)


def main(argv=None):
    """Run the command."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["--worker"]:
        _, row, way, batch, folder = argv
        return work(row, way, int(batch), folder)
    options = parse(argv)
    if options.run:
        return show_run(options.run)
    if options.plot and not options.growth and not set(GANS) & set(options.rows):
        raise UserError("--plot has nothing to draw: add --growth, or to --rows one of " + ", ".join(GANS))
    options.torch = find_torch(options.torch)
    report = {"machine": {"cpu": runtime.cpu_name(), "cores": runtime.cores(), "system": platform.platform(),
                          "python": platform.python_version()},
              "rounds": options.rounds, "rows": [], "growth": {}, "settings": None}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if {"crop", "loader"} & set(options.rows):
            make_pictures(folder, options.count, options.pictures)
        for row in dict.fromkeys(options.rows):
            other = {"crop": measure_crop, "loader": measure_loader}.get(row)
            report["rows"].append(other(options, folder) if other else measure_gan(row, options))
    if options.growth:
        report["growth"] = measure_growth(options)
    if options.settings:
        report["settings"] = measure_settings(options)
    for result in (*report["rows"], *report["growth"].get("batch", ())):
        for package in ("paddle", "torch"):
            report["machine"].setdefault(package, None)
            report["machine"][package] = report["machine"][package] or result.get(package)
    show(report)
    if options.json:
        from common.files import write_json

        write_json(options.json, report)
    if options.plot:
        plot(report, options.plot)


if __name__ == "__main__":
    sys.exit(run_command(main))
