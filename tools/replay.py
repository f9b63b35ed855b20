"""Compare the originals' numbers with this project's, run by run: ``python tools/replay.py book``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import recipe
from common.backend import runtime
from common.errors import ROOT, run_command
from common.training.options import Parser

TRACES = ROOT / "tests" / "traces"


def options(argv=None):
    """The command's options."""
    parser = Parser(prog="replay.py", description=(
        "Give this project the weights, pictures, noise and dropout that the original of a tutorial was given on the "
        "software that it was written for, and compare each run of a program: its loss, and every array that it "
        "changed. Differences are relative. An array's difference is the largest one among eight of its values, its "
        "mean and its root mean square. tests/traces/README.md tells how the originals were run, and "
        "common/evaluation/replay.py which bounds hold. Exit code 1: a run is beyond its bound."))
    parser.add_argument("trace", nargs="*", metavar="NAME|FILE",
                        help=f"a tutorial ({', '.join(recipe.TUTORIALS)}; all when left out), or a file of a trace of "
                             "another seed or batch")
    return parser.parse_args(argv)


def make(trace):
    """A new GAN of a trace's recipe.

    Raises:
        UserError: there is no such recipe.
    """
    import paddle

    return recipe.load(trace["recipe"]).gan.original(paddle.CPUPlace(), trace["batch"])


def table(trace, runs):
    """The lines of a trace's table, 80 columns wide."""
    yield f"{trace['recipe']}: {trace['software']}; batch {trace['batch']}, seed {trace['seed']}"
    yield "   run            original      ours off by  arrays: median, worst"
    for number, run in enumerate(runs, 1):
        losses = " " * 26
        if run.original is not None:
            losses = f"{run.original:9.6f} {run.ours:9.6f} {run.loss:6.0e}"
        arrays = ""
        if run.worst:
            name, worst = run.worst
            arrays = f"  {run.median:6.0e} {worst:6.0e} {name if len(name) <= 18 else '…' + name[-17:]}"
        yield f"{'!' if run.faults else ' '}{number:2d} {run.program:14s} {losses}{arrays}".rstrip()


def main(argv=None):
    """Run the command; returns 1 if a run is beyond its bound; raises `UserError`."""
    args = options(argv)
    runtime.prepare()

    from common.evaluation import replay

    beyond = False
    for name in args.trace or recipe.TUTORIALS:
        trace = replay.load(TRACES / f"{name}.json" if name in recipe.TUTORIALS else name)
        runs = replay.replay(trace, make(trace))
        print(*table(trace, runs), sep="\n")
        faults = [f"run {number} {run.program}: {fault}" for number, run in enumerate(runs, 1) for fault in run.faults]
        print(*(faults or ["all runs are within their bounds"]), "", sep="\n")
        beyond |= bool(faults)
    return int(beyond)


if __name__ == "__main__":
    sys.exit(run_command(main))
