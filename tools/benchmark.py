"""How fast it is: the originals, the tutorials' loops on today's Paddle, this project's, and PyTorch's, in turn.

Each way runs in a process of its own. The processes take turns, one iteration each, so that changes in the machine's
speed affect all of them alike. Medians and ratios are over these turns. ``docs/performance.md`` explains the figures;
the parts of this command are in ``tools/bench``.
"""

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.errors import UserError, run_command
from common.files import expanded, refuse_other, refuse_pipe
from tools.bench import machine
from tools.bench.ways import GANS, ROWS

FLUID_NEEDS = "an interpreter of Python 3.8 with paddlepaddle 1.8.5, numpy<1.22 and protobuf<3.21"


def parse(argv):
    """The command's options."""
    from common.training.options import Parser, positive

    parser = Parser(prog="benchmark.py", description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--rows", nargs="+", choices=ROWS, metavar="ROW",
        help=f"what to measure: {', '.join(ROWS)} (default: all)")
    add("--rounds", type=positive, default=7, help="turns of each way, after one to warm up")
    add("--patience", type=int, default=60, metavar="SECONDS",
        help="the most time for each row to wait until other processes are quiet, and to repeat disturbed turns")
    add("--fluid", metavar="PYTHON", help=f"also time the originals of the book and note 6; PYTHON is {FLUID_NEEDS}")
    add("--torch", metavar="PYTHON", help="an interpreter that has PyTorch (default: this one, if it has)")
    add("--operators", action="store_true",
        help="measure no times but each operator's, with one thread and with two, and estimate the gain of more")
    add("--growth", action="store_true",
        help="the book with batches of 32 to 512, and each of --rows with 1, 2, 4, … all threads")
    add("--settings", action="store_true", help="the book without one setting or fast path at a time")
    add("--quick", action="store_true", help="tiny sizes, one round: shows that it works, the figures mean nothing")
    add("--batch", type=positive, metavar="N", help="a batch size other than the tutorials'")
    add("--count", type=positive, default=2000, help="pictures to crop and to load")
    add("--pictures", type=expanded, metavar="ARCHIVE", help="img_align_celeba.zip, to crop and load real pictures")
    add("--json", type=expanded, metavar="FILE", help="write all figures into FILE, as JSON")
    add("--plot", type=expanded, metavar="FILE", help="draw the figures into FILE, a PNG")
    add("--show", type=expanded, nargs="+", metavar="FILE",
        help="measure nothing: print, and with --plot draw, what --json wrote; the rows of several files are joined")
    add("--run", type=expanded, metavar="DIR", help="only print how long each part of the training run in DIR took")
    options = parser.parse_args(argv)
    options.rows = options.rows or list(ROWS)
    if options.quick:
        options.rounds, options.batch, options.count, options.patience = 1, 4, 24, 0
    return options


def find_torch(python):
    """The interpreter that has PyTorch, or None.

    Raises:
        UserError: the interpreter that was named does not have it.
    """
    if python is None:
        if importlib.util.find_spec("torch"):
            return sys.executable
        print("PyTorch is not installed: nothing to compare with. pip install torch (its CPU build is enough) here, "
              "or in another environment that --torch names the interpreter of", file=sys.stderr, flush=True)
        return None
    if asked(python, "import torch") is None:
        raise UserError(f"--torch {python}: this is no interpreter that can import torch; "
                        "pip install torch there, or leave the option out")
    return shutil.which(python)


def find_fluid(python):
    """The interpreter that has Paddle 1.8, or None if no interpreter was named.

    Raises:
        UserError: the interpreter that was named does not have it.
    """
    if python is None:
        return None
    version = asked(python, "import paddle, paddle.fluid; print(paddle.__version__)")
    if version is None or not version.startswith("1.8"):
        raise UserError(f"--fluid {python}: this is no interpreter that can import Paddle 1.8's fluid; "
                        f"name {FLUID_NEEDS}, or leave the option out")
    return shutil.which(python)


def asked(python, program):
    """The last line that an interpreter prints for a program; None if ``python`` fails or is no interpreter."""
    try:
        said = subprocess.run([python, "-c", program], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return (said.splitlines() or [""])[-1]


def check_plot(path):
    """Raise `UserError` if matplotlib could not write a picture there after the measurement."""
    from matplotlib.backend_bases import FigureCanvasBase

    if path.is_dir() or path.suffix.lower()[1:] not in FigureCanvasBase.get_supported_filetypes():
        raise UserError(f"--plot {path} is no name of a picture; name a file that ends in .png")


def measure(options, report):
    """Measure everything that the options ask for; each result goes into the report at once."""
    from tools.bench import pictures, rows

    if options.operators:
        for row in (row for row in GANS if row in options.rows):
            report["operators"].append(rows.measure_operators(row, options))
    else:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            if {"crop", "loader"} & set(options.rows):
                pictures.make_pictures(folder, options.count, options.pictures)
            for row in dict.fromkeys(options.rows):
                other = {"crop": rows.measure_crop, "loader": rows.measure_loader,
                         "processes": rows.measure_processes}.get(row)
                report["rows"].append(other(options, folder) if other else rows.measure_gan(row, options))
    if options.growth:
        report["growth"] = {"batch": [], "threads": []}
        rows.measure_growth(options, report["growth"])
    if options.settings:
        report["settings"] = rows.measure_settings(options)


def finish(options, report):
    """Print a report; write it and draw its picture if the options ask for that."""
    from tools.bench.tables import show

    report["growth"] = {name: results for name, results in report["growth"].items() if results}
    for result in (*report["rows"], *report["operators"], *report["growth"].get("batch", ())):
        for package in ("paddle", "torch", "fluid"):
            report["machine"][package] = report["machine"].get(package) or result.get(package)
    show(report)
    if options.json:
        from common.files import write_json

        write_json(options.json, report)
    if options.plot and (report["growth"] or set(GANS) & {row["row"] for row in report["rows"]}):
        from tools.bench.plot import plot

        plot(report, options.plot)


def read(paths):
    """Read and join reports that `--json` wrote; if several files have the same row, the last file counts.

    Raises:
        UserError: a file is no report, or the reports are from different machines.
    """
    joined = None
    for path in paths:
        refuse_pipe(path)
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            report = {"operators": [], **{name: report[name] for name in (
                "machine", "rounds", "rows", "growth", "settings")}, **report}
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"--show {path}: this is no file that --json of this command wrote") from None
        joined = joined or report
        if any(joined["machine"].get(name) != report["machine"].get(name) for name in machine.SAME):
            raise UserError(f"--show: {paths[0]} and {path} are of different machines or versions; show one at a time")
        joined["machine"] |= {name: value for name, value in report["machine"].items() if value}
        joined["rounds"] = min(joined["rounds"], report["rounds"])
        for name in ("rows", "operators"):
            joined[name] = list({result["row"]: result for result in (*joined[name], *report[name])}.values())
        joined["growth"] = {**joined["growth"], **report["growth"]}
        joined["settings"] = report["settings"] or joined["settings"]
    return joined


def main(argv=None):
    """Run the command."""
    options = parse(sys.argv[1:] if argv is None else argv)
    if options.run:
        from tools.bench.run import show_run

        return show_run(options.run)
    report = read(options.show) if options.show else {
        "machine": machine.describe(), "rounds": options.rounds, "rows": [], "operators": [], "growth": {},
        "settings": None}
    rows, growth = ([row["row"] for row in report["rows"]], report["growth"]) if options.show else (
        [] if options.operators else options.rows, options.growth)
    if options.plot and not growth and not set(GANS) & set(rows):
        raise UserError("--plot has nothing to draw: add --growth, or name one of " + ", ".join(GANS)
                        + " with --rows and leave --operators out")
    if options.plot:
        check_plot(options.plot)
    if options.json:
        refuse_other(options.json, b'"rounds"', "report of this command", "--json")
    if options.operators and not set(GANS) & set(options.rows):
        raise UserError("--operators has nothing to look at: name one of " + ", ".join(GANS) + " with --rows")
    if not options.show:
        options.torch, options.fluid = find_torch(options.torch), find_fluid(options.fluid)
        try:
            measure(options, report)
        except (KeyboardInterrupt, SystemExit, UserError):  # `common.errors.leave` turns SIGTERM into a SystemExit
            if report["rows"] or report["operators"] or any(report["growth"].values()):  # they may have taken hours
                finish(options, report)
            raise
    finish(options, report)


if __name__ == "__main__":
    sys.exit(run_command(main))
