"""What each oddity of a tutorial costs: ``python tools/oddities.py --recipe book --dataset mnist``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import recipe as recipes
from common.backend import runtime
from common.errors import UserError, run_command
from common.files import expanded
from common.training.checkpoint import position
from common.training.options import FREE, Parser, complete, jsonable, positive, run_options
from common.training.records import Records
from tools import evaluate
from tools.bench import text

AS_IT_IS = "default"  # the tutorial without any fix


def options(argv=None):
    """(the command's options, the options that are passed on to the recipe's train.py).

    Raises:
        UserError: there is no such oddity, or this command decides an option itself.
    """
    parser = Parser(prog="oddities.py", description=(
        "Train a tutorial's recipe as it is and with single oddities mended, from several seeds; measure the runs "
        "as evaluate.py does, and print a table of means and standard deviations. What is done already is not done "
        "again: after Ctrl-C the same command goes on. Options that are not listed here go to the recipe's train.py."))
    add = parser.add_argument
    add("--recipe", choices=recipes.names(), default=recipes.names()[0], help="the tutorial")
    add("--fix", nargs="+", metavar="NAME",
        help="oddities to mend, one at a time (default: each of the recipe's that changes what is measured)")
    add("--epoch", type=positive, default=2, help="epochs of each run")
    add("--seeds", type=positive, default=3, metavar="N", help="runs of each kind, from seeds 0 to N - 1")
    add("--count", type=positive, default=10_000,
        help="how many pictures to draw and compare with as many real ones")
    add("--output", type=expanded, default=Path("./output_oddities"), metavar="DIR",
        help="folder for the folders of all runs")
    args, more = parser.parse_known_args(argv)
    runtime.prepare()
    args.recipe = recipes.load(args.recipe)
    known = [*args.recipe.fixes, "all"]
    args.fix = args.fix or [oddity.name for oddity in args.recipe.oddities if oddity.measured]
    if unknown := [name for name in args.fix if name not in known]:
        parser.error(f"--fix {unknown[0]}: {args.recipe.name} has {', '.join(known)}")
    if own := [name for name in ("--seed", "--resume", "--overwrite", "--max_steps", "--dry_run")
               if any(word.partition("=")[0] == name for word in more)]:
        parser.error(f"{own[0]} is decided here for each run; leave it out")
    return args, more


def main(argv=None):
    """Run the command; raises `UserError`."""
    args, more = options(argv)
    runs = {kind: [args.output / f"{args.recipe.name}_{kind}_{seed}" for seed in range(args.seeds)]
            for kind in (AS_IT_IS, *args.fix)}
    # All kinds with one seed, then with the next
    todo = [(folders[seed], kind, seed, [*([] if kind == AS_IT_IS else ["--fix", kind]), "--epoch", str(args.epoch),
                                         "--seed", str(seed), "--output", str(folders[seed]), *more])
            for seed in range(args.seeds) for kind, folders in runs.items()]
    for run, *_, argv in todo:  # before any of them trains
        if Records(run).saved():
            check(run, args.recipe, complete(args.recipe, argv))
    for run, kind, seed, argv in todo:
        print(f"{run}: seed {seed}, {'as the tutorial is' if kind == AS_IT_IS else f'--fix {kind}'}")
        train_one(run, args, argv)
        evaluate.main(["--run", str(run), "--checkpoint", f"{args.epoch:04d}_0000.safetensors",
                       "--count", str(args.count)])
    print(*table(runs, args.epoch, args.count), sep="\n")


def train_one(run, args, argv):
    """Train one run to its end; a run that was interrupted is resumed."""
    from common.report.page import write_report
    from common.training.run import train

    kept = Records(run).saved()
    if not kept or position(kept[-1]) < (args.epoch, 0):
        train(args.recipe, complete(args.recipe, [*argv, "--resume" if kept else "--overwrite"]), write_report)


def check(run, recipe, wanted):
    """Refuse a run that is there already but was made with other options.

    Raises:
        UserError: an option differs from the wanted one; or the run has gone on, and its checkpoint of the wanted epoch
            is deleted.
    """
    options = run_options(recipe, Records(run).read_config())
    for name, value in options.items():
        now = jsonable(getattr(wanted, name))
        if name not in FREE - {"data_dir"} and now != value:
            raise UserError(f"{run} was made with {name} {value}, not {now}; "
                            "give the same options again, or another --output")
    kept, end = [*map(position, Records(run).saved())], (wanted.epoch, 0)
    if kept[-1] > end and end not in kept:
        raise UserError(f"{run} was trained beyond --epoch {wanted.epoch}, whose checkpoint is deleted; "
                        f"give its --epoch {options['epoch']} again, or another --output")


def table(runs, epoch, count):
    """A table in Markdown: real pictures, then each kind's metrics, mean ± standard deviation.

    Args:
        runs: kind → folders of its runs, which `tools/evaluate.py` has measured.
        epoch: how many epochs they were trained.
        count: how many pictures were drawn from each.

    Returns:
        The table's lines.
    """
    import numpy as np

    from common.evaluation.scores import COLUMNS, Evaluation, counted, digits
    from common.evaluation.trained import Trained

    measured = {kind: [Evaluation(run, run.features, count) for run in map(Trained, folders)]
                for kind, folders in runs.items()}
    values = {kind: [each for one in of_kind if (each := one.by_position().get((epoch, 0)))]
              for kind, of_kind in measured.items()}
    columns = [name for name in COLUMNS if name in values[AS_IT_IS][0]]
    first, seeds = measured[AS_IT_IS][0], len(values[AS_IT_IS])
    caption = f"{first.protocol}: {counted(epoch, 'epoch')}, " + (
        f"mean ± standard deviation of {seeds} seeds" if seeds > 1 else "one seed")
    rows = []
    if real := first.known_real():
        rows.append(["real pictures", *(digits(real[1][name], 3) if name in real[1] else "" for name in columns)])
    for kind, of_kind in values.items():
        numbers = [[each[name] for each in of_kind] for name in columns]
        cells = [digits(np.mean(each), 3) + (f" ± {digits(np.std(each, ddof=1), 2)}" if len(each) > 1 else "")
                 for each in numbers]
        rows.append([kind, *cells])
    head = ["", *(COLUMNS[name].removesuffix(" (95 %)") for name in columns)]
    return [caption, "", *text.table(head, rows).splitlines()]


if __name__ == "__main__":
    sys.exit(run_command(main))
