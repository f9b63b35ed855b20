"""Compare a run with the pictures and losses that its tutorial published, or any pictures with any others.

    python tools/compare.py --run output_dcgan
    python tools/compare.py --ours generated --reference figure.png

Prints a table, and writes comparison.png and comparison.json into the run's folder.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.errors import UserError, run_command
from common.training.command import Parser, positive, seed

CLASSIFIERS = ("mnist", "fashion", "emnist")
REAL = 1000  # real pictures that the others are compared with
MEMORY = 400_000_000  # bytes of training pictures that the nearest are looked for in
SIDE = 28  # pixels that the classifier is made for


def options(argv):
    parser = Parser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--run", type=Path, metavar="DIR", help="folder of the trained run (default: output_dcgan)")
    add("--checkpoint", type=Path, metavar="FILE", help="one of the run's checkpoints (default: the newest)")
    add("--ours", type=Path, metavar="PATH", help="in place of a run: a figure, or a folder of pictures")
    add("--reference", type=Path, metavar="PATH",
        help="the tutorial's figure, or a folder with it; or any other figure or folder of pictures "
             "(default: the tutorial's own, downloaded once)")
    add("--rows", type=positive, metavar="N", help="of the grid in a figure that is no tutorial's (default: found)")
    add("--cols", type=positive, metavar="N", help="of the same (default: found)")
    add("--classifier", choices=CLASSIFIERS, default="mnist", help="with --ours: what judges grey pictures")
    add("--data_dir", type=Path, metavar="DIR", help="where the run's data set is now, if no longer where it was")
    add("--output", type=Path, metavar="DIR", help="folder for the results (default: the run's, or comparison)")
    add("--seed", type=seed, default=1, metavar="N", help="of the noise that the run draws from")
    args = parser.parse_args(argv)
    if args.ours:
        if args.run or args.checkpoint or args.data_dir:
            parser.error("--ours takes the place of a run; leave --run, --checkpoint and --data_dir out")
        if not args.reference:
            parser.error("--ours wants --reference, a figure or a folder to compare with")
    args.run = args.run or Path("output_dcgan")
    return args


def main(argv=None):
    """Run the command; raises `UserError`."""
    args = options(argv)

    from tqdm import tqdm

    from common.evaluation import comparison, figures
    from common.training.run_folder import read_lines, understood

    with tqdm(disable=None, leave=False, bar_format="{desc}: {n} done, {elapsed}") as bar:
        def at(what):
            bar.update()
            bar.set_description(what)

        at("reading")
        if args.ours:
            trained = None
            tutorial, ours = (figures.read(path, args.rows, args.cols) for path in (args.reference, args.ours))
            ours, output = shown(ours, args.ours), args.output or Path("comparison")
        else:
            trained, output = open_run(args.run, args.data_dir), args.output or args.run
            tutorial = figures.read(args.reference or download(trained), args.rows, args.cols)
        generated = shown(tutorial, args.reference)
        sets = comparison.Sets(generated, ours if args.ours else None, tutorial.real)
        if trained:
            at("drawing")
            checkpoint = trained.chosen(args.checkpoint) if args.checkpoint else None
            sets.ours = trained.sample(len(generated), args.seed, checkpoint)[0]
            at("reading the data")
            most = max(2, MEMORY // sets.ours[0].nbytes)
            sets.real, sets.held_out, sets.train = real(trained, most, args.data_dir)
        features = trained.features if trained else suitable(sets, args.classifier)

        at("measuring")
        compared = comparison.alike(sets, (SIDE, SIDE) if hasattr(features, "probabilities") else None)
        height, width = compared.tutorial.shape[1:3]
        note = f"{tutorial.note + '; ' if tutorial.note else ''}all compared at {width}×{height}"
        if trained and trained.recipe == "note6":  # the published pictures were saved so
            compared = compared.changed(comparison.stretched)
            note += ", each picture stretched over its own range"
        rows, numbers = [], []
        for row in comparison.picture_rows(compared, features, note, numbers):
            rows.append(row)
            at(row.name)
        if trained:
            with understood(args.run / "metrics.jsonl"):
                rows += comparison.loss_rows(trained.config, read_lines(args.run / "metrics.jsonl"))

        panels = [("the tutorial's real pictures", sets.tutorial_real), ("the tutorial's generated", generated),
                  ("ours", sets.ours), ("ours: nearest training pictures", sets.train[numbers] if numbers else None)]
        save(output, rows, [panel for panel in panels if panel[1] is not None])

    print("\n".join(comparison.table(rows)))
    print(f"\n{output / 'comparison.png'}, {output / 'comparison.json'}")


def open_run(run, data_dir):
    """`tools.trained.Trained`, with Paddle at hand."""
    from common.backend import runtime
    from common.training import run_folder

    run_folder.read_config(run)  # before Paddle is imported, which takes a while
    run_folder.latest_checkpoint(run)
    runtime.prepare()

    from tools.trained import Trained

    return Trained(run, data_dir)


def download(trained):
    """The folder of the published figures of a run's tutorial."""
    from common.evaluation import published

    if trained.data not in ("mnist", "digits", "celeba"):
        raise UserError(f"the run in {trained.path} has learnt other pictures than its tutorial shows; "
                        "name a figure or a folder of such with --reference")
    return published.download(trained.recipe)


def shown(pictures, path):
    """The generated pictures of a figure, which it needs to have."""
    if pictures.generated is None:
        raise UserError(f"{path} shows real pictures only; name the figure of generated ones, or the folder of both")
    return pictures.generated


def real(trained, most, data_dir):
    """(real pictures, whether they were kept from the training, up to ``most`` of those of the training).

    Nothing of these, and a note, when the data are gone.
    """
    from common.data.datasets import NotThere

    pictures = trained.config["dataset"]["pictures"]
    if most < pictures:
        print(f"note: the nearest training pictures are looked for among {most} of {pictures}, drawn at random",
              file=sys.stderr)
    try:
        train, _ = trained.real("train", most if most < pictures else None)
    except UserError as error:
        if data_dir:
            raise
        print(f"note: compared without real pictures: {error}", file=sys.stderr)
        return None, False, None
    try:
        return trained.real("test", REAL)[0], True, train
    except NotThere:
        return trained.real("train", REAL)[0], False, train


def suitable(sets, classifier):
    """What describes pictures that no run tells about."""
    if all(pictures.shape[3] == 3 for _, pictures in sets.each()):
        from common.evaluation.features import HogColour

        return HogColour()
    from common.backend import runtime

    runtime.prepare()

    from common.evaluation.classifier import Classifier

    return Classifier.load(classifier)


def save(output, rows, panels):
    """Write ``comparison.png`` and ``comparison.json``."""
    from common.evaluation import comparison
    from common.files import write_json

    comparison.save_picture(output / "comparison.png", panels)
    write_json(output / "comparison.json", comparison.as_json(rows))


if __name__ == "__main__":
    sys.exit(run_command(main))
