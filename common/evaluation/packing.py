"""Pack a run's generator for `common.pretrained`, and measure the packed generator beside the run's own."""

from pathlib import Path

from common import pretrained
from common.errors import UserError, say
from common.evaluation import scores
from common.evaluation.trained import Trained
from common.files import replacing
from common.generator import make, read_run
from common.training import checkpoint as checkpoints
from common.training.records import Records

METRICS = (*scores.COLUMNS, "kid low", "kid high")


class Unwritten(Records):
    """Records of a run whose new evaluations are not written into the run."""

    def __init__(self, path):
        super().__init__(path)
        self.new = []

    def add_evaluation(self, step, epoch, batch, **values):
        """See `Records.add_evaluation`."""
        self.new.append({"step": step, "epoch": epoch, "batch": batch, **values})

    def added_evaluations(self):
        """See `Records.added_evaluations`."""
        yield from super().added_evaluations()
        yield from self.new


def pack(folder, checkpoint, path, data_dir=None, count=10_000):
    """Write a packed generator with its record.

    Args:
        folder: of the run.
        checkpoint: path of one of its checkpoints, or "best"; None: the newest.
        path: of the file to write; an older file is replaced.
        data_dir: where the run's data set lies now, if it was moved.
        count: how many pictures to draw for the metrics, and how many real ones to compare them with.

    Returns:
        Lines that tell the size and the metrics.

    Raises:
        UserError: there is no such run or checkpoint, or the file cannot be written.
    """
    run = Trained(folder, data_dir)
    run.records = Unwritten(folder)
    chosen = run.chosen(checkpoint)
    config, arrays = read_run(folder, chosen)
    names = make(config, arrays).generator_names()
    packed, shapes = pretrained.rounded({name: arrays[name] for name in names})
    epoch, batch = checkpoints.position(chosen)
    options = config["options"]
    record = {
        "name": path.stem, "config": portable(config), "shapes": shapes,
        "trained": {"step": checkpoints.read_record(chosen)["step"], "batch": batch, "epochs": round(
                        epoch + batch * options["batch_size"] / config["dataset"]["pictures"], 2),
                    "epochs of the tutorial": run.recipe.defaults(options)["epoch"]},
        "float32 bytes": sum(arrays[name].nbytes for name in names)}
    with replacing(path) as temporary:  # nothing is left if the measurement is stopped
        checkpoints.write(temporary, packed, record)
        try:
            record["measured"] = measure(run, chosen, temporary, count)
        except UserError as error:
            say(f"note: the generator is not measured: {error}")
        checkpoints.write(temporary, packed, record)
    size = path.stat().st_size
    lines = [f"{path}: {size / 1e6:.2f} MB in place of {record['float32 bytes'] / 1e6:.2f}"]
    if measured := record.get("measured"):
        lines += [f"{run.recipe.name}, {config['dataset']['name']}: {measured['protocol']}", *scores.lines([
            (scores.REAL[measured["real"]["kind"]], measured["real"]), ("untrained generator", measured["untrained"]),
            ("the run's checkpoint", measured["run"]), ("this file", measured["packed"])])]
    return lines


def measure(run, checkpoint, packed, count):
    """Metrics of real pictures, the untrained generator, a run's checkpoint and the packed generator.

    Args:
        run: `Trained`; its ``records`` keep what was measured.
        checkpoint: path of the checkpoint that was packed.
        packed: path of the packed generator.
        count: how many pictures of each.

    Returns:
        The protocol, and name → value for each of the four.

    Raises:
        UserError: the data are gone, or too few.
    """
    evaluation = scores.Evaluation(run, run.features, count)
    evaluation.measure([checkpoint])
    position = checkpoints.position(checkpoint)
    known = evaluation.by_position()
    if position not in known:
        raise UserError(f"a training has deleted {checkpoint} meanwhile; pack a later one")
    kind, real = evaluation.known_real() or ("halves", {})
    features = evaluation.described(*run.real("train", count))[0]
    config, arrays, _ = pretrained.read(packed)
    values = evaluation.compare(features, *evaluation.described(*run.drawn(config, arrays, count)))
    return {"protocol": evaluation.protocol, "real": {"kind": kind, **shortened(real)},
            "untrained": shortened(known[0, 0]), "run": shortened(known[position]), "packed": shortened(values)}


def shortened(values):
    """The metrics among values by their short names, with five significant digits."""
    found = {name: float(f"{values[name]:.5g}") for name in METRICS if name in values}
    return {**found, "class recall": values["class recall"]} if "class recall" in values else found


def portable(config):
    """A run's config without this machine's paths: of an option only the name at its end, of the data no place."""
    options = {name: Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
               for name, value in config["options"].items()}
    return {"recipe": config["recipe"], "options": {**options, "data_dir": None, "output": None},
            "dataset": {**config["dataset"], "source": None}, "versions": config["versions"],
            **({"oddities": config["oddities"]} if "oddities" in config else {})}
