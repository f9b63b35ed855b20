"""How good a run's checkpoints are: measured, kept in its ``metrics.jsonl``, shown as a table and a figure.

A metric's name carries its protocol: ``fid mnist-cnn-3f2a91bc 10000/10000 train`` is FID by those features, of
10,000 generated pictures against 10,000 of the training set.
"""

from decimal import Decimal

import numpy as np
from tqdm import tqdm

from common.data.datasets import NotThere
from common.errors import UserError, terminal
from common.evaluation import metrics
from common.training import checkpoint
from common.training.checkpoint import position

SEED = 1  # the usual seed; the name of a metric mentions only another one
COLUMNS = {"fid": "FID", "kid": "KID (95 %)", "precision": "precision", "recall": "recall", "density": "density",
           "coverage": "coverage", "label agreement": "label agreement"}

REAL = {"test": "real: test pictures", "halves": "real: half against half"}


class Evaluation:
    """One protocol on one run.

    Args:
        run: `common.evaluation.trained.Trained`.
        features: as ``run.features``.
        count: how many pictures to draw. They are compared with as many real ones, or with all if there are fewer.
        seed: of the noise.
    """

    def __init__(self, run, features, count, seed=SEED):
        self.run, self.features, self.count, self.seed = run, features, count, seed
        real = min(count, run.config["dataset"]["pictures"])
        data = f"{real} digits" if run.data == "digits" else str(real)  # MNIST's classifier judges embedded digits
        self.protocol = " ".join([f"{features.name} {count}/{data} train", *[f"seed {seed}"] * (seed != SEED),
                                  *(f"fix {name}" for name in run.fix)])
        self.real = f"/{data} real"  # follows the number of real pictures that are measured themselves

    def measure(self, checkpoints):
        """Measure checkpoints, the untrained generator and real pictures, unless they were measured before.

        The results are kept in the run's ``metrics.jsonl``.

        Raises:
            UserError: a checkpoint or the data cannot be used, or there are too few pictures.
        """
        known = self.by_position()
        todo = [path for path in (None, *checkpoints) if position(path) not in known]
        steps = {}
        for path in todo:  # a checkpoint that is cut short is noticed before the work begins
            try:
                steps[path] = checkpoint.read_record(path)["step"] if path else 0
            except UserError:
                if path.is_file():  # else a training in progress has deleted it
                    raise
        if not steps:
            return
        # A bar, on a terminal only, because each row takes seconds and the table is printed at the end
        with tqdm(total=len(steps) + 1, disable=not terminal(), leave=False, unit="row") as bar:
            bar.set_description("real pictures")
            real, *_ = self.described(*self.run.real("train", self.count))
            if min(len(real), self.count) <= real.shape[1]:  # refused before any picture is drawn
                raise UserError(f"a Fréchet distance of {real.shape[1]} features wants {real.shape[1] + 1} pictures or "
                                f"more of each kind, here are {len(real)} real ones and {self.count} to draw; "
                                "raise --count, or take a run on a larger data set")
            if not self.known_real() and (values := self.measure_real(real)):
                self.run.records.add_evaluation(0, 0, 0, **values)
            bar.update()
            for path, step in steps.items():
                bar.set_description(path.name if path else "untrained generator")
                try:
                    drawn = (self.run.sample(self.count, self.seed, path) if path
                             else self.run.untrained(self.count, self.seed))
                except UserError:
                    if path is None or path.is_file():  # else it has been deleted since
                        raise
                    continue
                values = named(self.protocol, self.compare(real, *self.described(*drawn)))
                epoch, batch = position(path)
                self.run.records.add_evaluation(step, epoch, batch, **values)
                bar.update()

    def described(self, pictures, labels):
        """(features [n, d], the numbers of the classes recognised [n] or None, labels [n] or None).

        Args:
            pictures: [n, H, W, C] in [-1, 1].
            labels: [n], the run's own numbers of its classes, or None.
        """
        classes = self.run.classes
        if not (classes and labels is not None and self.features.labels):
            return self.features.features(pictures), None, None
        features, probabilities = self.features.outputs(pictures)
        # In EMNIST's letters both cases are one class; so case is ignored unless two names differ by nothing else
        plain = str.casefold if len({name.casefold() for name in classes}) == len(classes) else str
        numbers = {plain(name): number for number, name in enumerate(classes)}
        found = np.array([numbers.get(plain(name), -1) for name in self.features.labels])
        if set(numbers.values()) - set(found.tolist()):  # the classifier does not know all of the classes
            return features, None, None
        return features, found[probabilities.argmax(1)], labels

    def compare(self, real, generated, found, labels):
        """All metrics of generated features, by their short names.

        Args:
            real, generated: features [n, d] and [m, d].
            found: the run's numbers of the classes recognised in the generated pictures [m], −1 for a class that the
                run does not have; or None.
            labels: the numbers of the classes asked for [m]; or None.
        """
        kid, low, high = metrics.kernel_distance(real, generated, np.random.RandomState(0))
        precision, recall = metrics.precision_recall(real, generated)
        density, coverage = metrics.density_coverage(real, generated)
        values = {"fid": metrics.frechet_distance(real, generated), "kid": kid, "kid low": low, "kid high": high,
                  "precision": precision, "recall": recall, "density": density, "coverage": coverage}
        if labels is not None:
            values["label agreement"], of_each = metrics.label_agreement(labels, found, len(self.run.classes))
            values["class recall"] = {name: round(float(share), 4) for name, share in
                                      zip(self.run.classes, of_each, strict=True) if not np.isnan(share)}
        return values

    def measure_real(self, real):
        """The metrics of real pictures: the test set's, else those of one half of the data against the other half.

        A part of the data has to have more pictures than there are features; {} if neither part has.
        """
        try:
            test = self.run.real("test", self.count)
        except NotThere:
            test = None
        if test is None or len(test[0]) <= real.shape[1]:
            half = len(real) // 2
            if half <= real.shape[1]:  # too few real pictures
                return {}
            return named(f"{self.features.name} half{self.real} halves",
                         self.compare(real[:half], real[half:], None, None))
        return named(f"{self.features.name} {len(test[0])}{self.real} test", self.compare(real, *self.described(*test)))

    # Results that were measured before

    def known(self):
        """The evaluations of this protocol, each with short names; the untrained generator first."""
        return [{**each, **values} for each in self.run.records.evaluations() if (values := short(self.protocol, each))]

    def by_position(self):
        """`known`, by `common.training.checkpoint.position`."""
        return {(each["epoch"], each["batch"]): each for each in self.known()}

    def known_real(self):
        """(which real pictures were compared, values), or None if they were not measured."""
        kinds = tuple(f"{self.real} {what}" for what in ("test", "halves"))
        for each in self.run.records.evaluations():
            for name in each:
                if name.startswith(f"fid {self.features.name} ") and name.endswith(kinds):
                    return name.rsplit(" ", 1)[1], short(name.removeprefix("fid "), each)
        return None

    def epochs(self, each):
        """How many epochs an evaluated checkpoint was trained for."""
        pictures = self.run.config["dataset"]["pictures"]
        return each["epoch"] + each["batch"] * self.run.config["options"]["batch_size"] / pictures


def named(protocol, values):
    """Values under their full names."""
    return {f"{name} {protocol}": value for name, value in values.items()}


def short(protocol, values):
    """The values of one protocol by their short names."""
    end = f" {protocol}"
    return {name.removesuffix(end): value for name, value in values.items() if name.endswith(end)}


# Output


def table(evaluation):
    """The lines of a table: real pictures, the untrained generator, each checkpoint."""
    real, known = evaluation.known_real(), evaluation.known()
    rows = [(REAL[real[0]], real[1])] if real else []
    rows += [(title(each), each) for each in known]
    return lines(rows)


def lines(rows):
    """The lines of a table, from (title, metrics by their short names) for each row."""
    columns = [name for name in COLUMNS if any(name in values for _, values in rows)]
    cells = [["", *(COLUMNS[name] for name in columns)]]
    cells += [[text, *(cell(name, values) for name in columns)] for text, values in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *(text.rjust(width) for text, width in
                                                  zip(row[1:], widths[1:], strict=True))]) for row in cells]


def title(each):
    """A row's name."""
    if each["step"] == 0:
        return "untrained generator"
    batches = f", {counted(each['batch'], 'batch', 'batches')}" if each["batch"] else ""
    return counted(each["epoch"], "epoch") + batches


def counted(number, one, many=None):
    """A number with its noun, in the singular or the plural."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def cell(name, values):
    """A value as text for the table."""
    if name not in values:
        return ""
    if name in ("fid", "kid"):
        text = digits(values[name], 4)
        return text if name == "fid" else f"{text} ({digits(values['kid low'], 3)} … {digits(values['kid high'], 3)})"
    return f"{values[name]:.1%}" if name == "label agreement" else f"{values[name]:.3f}"


def digits(value, count):
    """A number with ``count`` significant digits, trailing zeros included, without an exponent."""
    return f"{Decimal(f'{value:#.{count}g}'):f}"


def best(evaluation):
    """The measured checkpoint with the lowest FID of those that are still there: (path, {name of FID: value}).

    Raises:
        UserError: a training in progress has deleted them all.
    """
    known = evaluation.by_position()
    kept = [path for path in evaluation.run.records.saved() if position(path) in known]
    if not kept:
        raise UserError(f"all checkpoints that were measured have been deleted since by the training in "
                        f"{evaluation.run.path}; measure again, preferably without --checkpoint")
    path = min(kept, key=lambda path: known[position(path)]["fid"])
    return path, {f"fid {evaluation.protocol}": known[position(path)]["fid"]}


def complete(evaluation):
    """Whether all checkpoints that are still there have been measured; an unmeasured one may be the best."""
    return evaluation.by_position().keys() >= set(map(position, evaluation.run.records.saved()))


def save_figure(path, evaluation):
    """Draw all metrics over the epochs.

    Args:
        path: of the PNG.
        evaluation: `Evaluation` after `measure`.
    """
    from matplotlib.ticker import MaxNLocator

    from common.files import replacing
    from common.plotting import printable, subplots

    known, real = evaluation.known(), evaluation.known_real()
    panels = [["fid"], ["kid"], ["precision", "recall"], ["density", "coverage"]]
    panels += [["label agreement"]] * any("label agreement" in each for each in known)
    epochs = [evaluation.epochs(each) for each in known]
    figure, axes = subplots(1, len(panels), figsize=(4 * len(panels), 4.5), layout="constrained")
    for axis, names in zip(axes, panels, strict=True):
        for number, name in enumerate(names):
            axis.plot(epochs, [each.get(name, np.nan) for each in known], "o-", color=f"C{number}",
                      label=COLUMNS[name])
            if real and name in real[1]:
                label = "the same of real pictures" + ", half as many" * (real[0] == "halves")
                label = label if number == len(names) - 1 else None
                axis.axhline(real[1][name], color=f"C{number}", linestyle="--", linewidth=0.8, label=label)
        if names == ["kid"]:
            axis.fill_between(epochs, *([each[f"kid {end}"] for each in known] for end in ("low", "high")), alpha=0.3)
        if names == ["fid"] and any(each["fid"] > 0 for each in known):
            axis.set_yscale("log")
        elif names == ["kid"] and any(each["kid"] > 0 for each in known):
            highest = max(each["kid"] for each in known)
            axis.set_yscale("symlog", linthresh=highest / 1000)  # of real pictures it is near 0, above or below
        else:
            axis.set_ylim(0, None)
        axis.set_xlabel("Epoch (0: untrained)")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    figure.suptitle(printable(f"{evaluation.run.recipe.name}, {evaluation.run.config['dataset']['name']}: "
                              f"{evaluation.protocol}"), parse_math=False)
    with replacing(path) as temporary:
        figure.savefig(temporary)
