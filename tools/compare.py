"""Compare a run with the pictures and losses that its tutorial published, or any pictures with any others.

    python tools/compare.py --run output_dcgan
    python tools/compare.py --ours generated --reference figure.png

Prints a table, and writes comparison.png and comparison.json into the run's folder.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.errors import UserError, run_command, terminal
from common.evaluation.classifier_training import EPOCHS
from common.files import expanded
from common.recipe import DEFAULT_RUN
from common.training.options import Parser, positive, seed
from common.training.records import Records
from static_mnist.classes import every

PICTURES = 128  # of ours, to be measured when the figure cannot be had; with one, as many as it shows


def options(argv):
    """The command's options."""
    parser = Parser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--run", type=expanded, metavar="DIR", help=f"folder of the trained run (default: {DEFAULT_RUN})")
    add("--checkpoint", type=expanded, metavar="FILE", help="one of the run's checkpoints (default: the newest)")
    add("--ours", type=expanded, metavar="PATH", help="in place of a run: a figure, or a folder of pictures")
    add("--reference", type=expanded, metavar="PATH",
        help="the tutorial's figure, or a folder with it; or any other figure or folder of pictures "
             "(default: the tutorial's own, downloaded once)")
    add("--rows", type=positive, metavar="N",
        help="rows of the grid in a figure that is no tutorial's (default: found)")
    add("--cols", type=positive, metavar="N", help="columns of that grid (default: found)")
    add("--classifier", choices=EPOCHS, default="mnist",
        help="with --ours: the classifier that judges grey pictures")
    add("--data_dir", type=expanded, metavar="DIR", help="where the run's data set lies now, if it has moved")
    add("--output", type=expanded, metavar="DIR", help="folder for the results (default: the run's, or comparison)")
    add("--seed", type=seed, default=1, metavar="N", help="seed of the noise that the run draws from")
    args = parser.parse_args(argv)
    if args.ours:
        if args.run or args.checkpoint or args.data_dir:
            parser.error("--ours takes the place of a run; leave --run, --checkpoint and --data_dir out")
        if not args.reference:
            parser.error("--ours wants --reference, a figure or a folder to compare with")
    args.run = args.run or Path(DEFAULT_RUN)
    return args


def main(argv=None):
    """Run the command; raises `UserError`."""
    args = options(argv)

    from tqdm import tqdm

    from common.comparison import compare, known
    from common.comparison.figures import NotPublished
    from common.comparison.sets import Sets
    from common.comparison.shown import table
    from common.evaluation.trained import Trained
    from common.report import page

    with tqdm(disable=not terminal(), leave=False, bar_format="{desc}: {n} done, {elapsed}") as bar:
        def at(what):
            bar.update()
            bar.set_description(what)

        at("reading")
        trained = None if args.ours else Trained(args.run, args.data_dir)
        output = args.output or (args.run if trained else Path("comparison"))
        compare.refuse_others(output)
        if args.ours:
            tutorial, ours = (compare.generated(path, args.rows, args.cols) for path in (args.reference, args.ours))
            sets = Sets(tutorial.generated, ours.generated, tutorial.real)
            features, stretch, rows = compare.suitable(sets, args.classifier), False, []
        else:
            checkpoint = trained.chosen(args.checkpoint)
            about = how_far(trained, checkpoint)  # now, because a training in progress may delete the checkpoint
            rows = compare.losses(trained)
            try:
                tutorial = compare.generated(args.reference or download(trained), args.rows, args.cols)
            except NotPublished as error:
                print(f"note: compared with known numbers alone: {error}", file=sys.stderr)
                at("drawing")
                rows = known.rows(trained.recipe.figures, trained.sample(PICTURES, args.seed, checkpoint)[0]) + rows
                sets = None
            else:
                sets = compare.sets_of_run(trained, tutorial, checkpoint, args.seed, args.data_dir, at)
                figures = trained.recipe.figures
                features, stretch = trained.features, bool(figures and figures.stretched)

        numbers = []
        if sets:
            at("measuring")
            of_pictures, numbers = compare.compared(sets, features, tutorial.note, stretch, at)
            rows = of_pictures + rows
        written = compare.save(output, rows, sets, numbers)
        if (output / "report.html").is_file() and Records(output).exists():
            page.write([output], output / "report.html")
            written.append(output / "report.html")

    if not args.ours:
        print(about, end="\n\n")
    print(*table(rows), sep="\n")
    print("", ", ".join(map(str, written)), sep="\n")


def how_far(trained, checkpoint):
    """A line about the run: its iterations and data, and how many of the tutorial's epochs are complete."""
    from common.training.checkpoint import position, read_record

    config = trained.config
    whole = trained.recipe.defaults(config["options"])["epoch"]
    return (f"ours: {read_record(checkpoint)['step']:,} iterations on {config['dataset']['name']}, "
            f"{position(checkpoint)[0]} of the tutorial's {whole} epochs complete")


def download(trained):
    """The folder of the published figures of a run's tutorial."""
    from common.comparison import figures

    published = trained.recipe.figures
    if not published or trained.data not in published.data or not every(trained.config["options"].get("classes")):
        raise UserError(f"the run in {trained.path} has learnt other pictures than its tutorial shows; "
                        "name a figure or a folder of pictures of the same kind with --reference")
    return figures.download(trained.recipe)


if __name__ == "__main__":
    sys.exit(run_command(main))
