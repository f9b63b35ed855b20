"""Compare a run or any pictures with the tutorial's or any other pictures: from the paths to the table and figure."""

import sys

from common.comparison import figures
from common.comparison.loss_rows import loss_rows
from common.comparison.picture_rows import picture_rows
from common.comparison.sets import Sets, alike, as_json
from common.comparison.shown import save_picture
from common.errors import UserError
from common.evaluation.pixels import stretched
from common.files import COMPARED, refuse_other, write_json
from common.training.records import understood

REAL = 1000  # real pictures that generated pictures are compared with
PICTURE = "comparison.png"
MEMORY = 400_000_000  # bytes of training pictures that are searched for the nearest one


def generated(path, rows=None, columns=None):
    """Read a figure or folder that has generated pictures: `figures.Shown`.

    Raises:
        UserError: there are no generated pictures in it; and all that `figures.read` raises.
    """
    shown = figures.read(path, rows, columns)
    if shown.generated is None:
        raise UserError(f"{path} shows real pictures only; name the figure of generated ones, or the folder of both")
    return shown


def sets_of_run(trained, tutorial, checkpoint, seed, data_dir, at):
    """`Sets` of the tutorial's pictures, as many pictures of a run, and real pictures of the run's data set.

    Args:
        trained: `common.evaluation.trained.Trained`.
        tutorial: `figures.Shown`.
        checkpoint: path of one of the run's checkpoints.
        seed: of the noise.
        data_dir: where the run's data lie now, if they were moved; else None.
        at: function that is called with a few words before each piece of work.
    """
    at("drawing")
    ours = trained.sample(len(tutorial.generated), seed, checkpoint)[0]
    at("reading the data")
    real, held_out, train = real_pictures(trained, max(2, MEMORY // ours[0].nbytes), data_dir)
    return Sets(tutorial.generated, ours, tutorial.real, real, train, held_out)


def real_pictures(trained, most, data_dir):
    """Read real pictures of a run's data set.

    Returns:
        (real, held_out, train): real pictures; whether the run was trained without them; at most ``most`` of the
        training pictures. (None, False, None), with a note on stderr, when the data are gone.
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
    """Features for pictures that come without a run: `HogColour` if all have colours, else those of a classifier.

    Args:
        sets: `Sets`.
        classifier: its name, see `Classifier.load`.
    """
    if all(pictures.shape[3] == 3 for _, pictures in sets.each()):
        from common.evaluation.features import HogColour

        return HogColour()
    from common.backend import runtime

    runtime.prepare()

    from common.evaluation.classifier import Classifier

    return Classifier.load(classifier)


def compared(sets, features, note, stretch, at):
    """Compute the table's rows about pictures.

    Args:
        sets: `Sets`.
        features: turns pictures into numbers, such as `Classifier`.
        note: how the tutorial's pixels were changed when they were read.
        stretch: whether to stretch each picture over its own range of grey values, as the published pictures were.
        at: function that is called with a few words after each row.

    Returns:
        (rows, numbers): `Row`s, and for each of our pictures the number of its nearest training picture.
    """
    sets = alike(sets, features.size)
    height, width = sets.tutorial.shape[1:3]
    note = f"{note + '; ' if note else ''}all compared at {width}×{height}"
    if stretch:
        sets = sets.changed(stretched)
        note += ", each picture stretched over its own range"
    rows, numbers = [], []
    for row in picture_rows(sets, features, note, numbers):
        rows.append(row)
        at(row.name)
    return rows, numbers


def losses(trained):
    """The table's rows about a run's losses."""
    with understood(trained.records.metrics_path):
        return list(loss_rows(trained.config, trained.records.metrics()))


def refuse_others(output):
    """Refuse a folder whose files of these names are no earlier comparison, before minutes of work.

    Raises:
        UserError: there are such files, or the folder cannot be made.
    """
    table, picture = output / COMPARED, output / PICTURE
    refuse_other(table, b'"verdict"', "comparison of this command")
    if picture.exists() and not table.exists():
        raise UserError(f"{picture} is there, without the {COMPARED} of a comparison; choose another --output")


def save(output, rows, sets, numbers):
    """Write ``comparison.json`` into a folder, and ``comparison.png`` if there are pictures; return their paths.

    Args:
        output: the folder.
        rows: the table's `Row`s.
        sets: `Sets`; None if no pictures were compared.
        numbers: for each of our pictures the number of its nearest training picture; may be empty.
    """
    table = output / COMPARED
    write_json(table, as_json(rows))
    written = [table]
    if sets:
        panels = [("the tutorial's real pictures", sets.tutorial_real), ("the tutorial's generated", sets.tutorial),
                  ("ours", sets.ours), ("ours: nearest training pictures", sets.train[numbers] if numbers else None)]
        written.insert(0, output / PICTURE)
        save_picture(written[0], [panel for panel in panels if panel[1] is not None])
    else:
        (output / PICTURE).unlink(missing_ok=True)  # of an earlier comparison; the report would show it
    return written
