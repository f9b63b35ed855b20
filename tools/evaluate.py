"""Measure a run's checkpoints: ``python tools/evaluate.py --run output_dcgan``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.errors import run_command
from common.files import expanded
from common.recipe import DEFAULT_RUN
from common.training import options as command


def options(argv=None):
    """The command's options."""
    parser = command.Parser(prog="evaluate.py", description=(
        "FID, KID, precision and recall, density and coverage, and label agreement of a run's checkpoints, beside "
        "those of real pictures and of the untrained generator. They go into its metrics.jsonl and metrics.png."))
    add = parser.add_argument
    add("--run", type=expanded, default=Path(DEFAULT_RUN), metavar="DIR", help="folder of the run")
    add("--checkpoint", type=expanded, metavar="FILE", help="one of its checkpoints (default: all that are kept)")
    add("--count", type=command.positive, default=10_000,
        help="how many pictures to draw and compare with as many real ones")
    add("--seed", type=command.seed, default=1, metavar="N", help="seed of the noise")
    add("--inception", type=expanded, metavar="FILE.onnx",
        help="compute features with this network, which takes pictures [n, 3, 299, 299] in [-1, 1] (default: the "
             "project's classifier of the run's data; for faces and pictures of your own histograms of gradients and "
             "colours)")
    add("--fix", nargs="+", default=[], metavar="NAME",
        help="mend these oddities of drawing, or all, besides those that the run was trained with")
    add("--data_dir", type=expanded, metavar="PATH", help="where the run's data set lies now, if it has moved")
    return parser.parse_args(argv)


def main(argv=None):
    """Run the command; raises `UserError`."""
    args = options(argv)

    from common.evaluation.trained import Trained

    run = Trained(args.run, args.data_dir, sorted({*args.fix}))
    checkpoints = [run.chosen(args.checkpoint)] if args.checkpoint else run.checkpoints

    from common.evaluation import scores
    from common.evaluation.features import Inception
    from common.report import page

    features = Inception(args.inception) if args.inception else run.features
    measured = scores.Evaluation(run, features, args.count, args.seed)
    measured.measure(checkpoints)
    scores.save_figure(run.path / "metrics.png", measured)
    of_all = not args.checkpoint or scores.complete(measured)  # a training may have saved another one meanwhile
    if of_all and not run.fix:
        run.records.mark_best(*scores.best(measured))
    page.write([run.path], run.path / "report.html")
    show(measured, of_all)


def show(measured, of_all):
    """Print the table and the best checkpoint: of all, or only of those that have been measured."""
    from common.evaluation import scores

    run = measured.run
    print(f"{run.recipe.name}, {run.config['dataset']['name']}: {measured.protocol}")
    print(*scores.table(measured), sep="\n")
    best, _ = scores.best(measured)
    each = measured.by_position()[scores.position(best)]
    if "class recall" in each:
        print(f"{scores.title(each)}, classes recognised: "
              + ", ".join(f"{name} {share:.1%}" for name, share in each["class recall"].items()))
    if run.fix:
        print(f"best by FID: {best}; not marked, because generate.py draws without --fix unless it is told to")
    elif of_all:
        print(f"best by FID, drawn from by generate.py --checkpoint best: {best}")
    else:
        print(f"best by FID of those measured: {best}; not marked, because other checkpoints have not been measured in "
              "the same way; without --checkpoint all are")
    print(f"kept in {run.path / 'metrics.jsonl'}, drawn in {run.path / 'metrics.png'} and in report.html")


if __name__ == "__main__":
    sys.exit(run_command(main))
