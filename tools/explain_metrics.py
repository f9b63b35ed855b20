"""Draw the pictures of docs/metrics.md, and measure its numbers: ``python tools/explain_metrics.py``.

The data are the embedded digits, points on a plane, and a GAN of 2-D points that trains for seconds.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.errors import ROOT, run_command

# isort: split
# NumPy comes later, because Ctrl-C may strike its import
import numpy as np

from common.backend import runtime
from common.data.batches import spread
from common.files import expanded
from common.training import options as command

PICTURES = ROOT / "docs" / "pictures" / "metrics"
SEED = 0
K = 3  # balls reach to this neighbour in the pictures; density and coverage take the fifth


def options(argv=None):
    """The command's options."""
    parser = command.Parser(prog="explain_metrics.py", description=(
        "Draw the pictures of docs/metrics.md anew, and print the numbers that the page tells."))
    parser.add_argument("--output", type=expanded, default=PICTURES, metavar="DIR", help="folder of the pictures")
    return parser.parse_args(argv)


def main(argv=None):
    """Run the command; raises `UserError`."""
    args = options(argv)
    runtime.prepare()
    args.output.mkdir(parents=True, exist_ok=True)
    digits, plane = Digits(), points()
    counts, trained = digits.counts(), toy_gan()
    draw_losses(args.output / "losses.png", trained)
    draw_grids(args.output / "fid.png", digits.faults())
    draw_counts(args.output / "kid.png", counts)
    for name in ("precision", "recall", "density", "coverage"):
        draw_points(args.output / f"{name}.png", plane[name], name)
    draw_grids(args.output / "label_agreement.png", digits.labels())
    for row in told(digits, plane, counts):
        print(*row, sep=" | ")
    distance = trained[-1]
    print(f"the small GAN's distance to the real points: from {distance[0]:.2g} to {distance[-1]:.1g}")


def told(digits, plane, counts):
    """The rows of the page's tables: (what was measured, its numbers as the page writes them).

    Args:
        digits: `Digits`.
        plane: `points`.
        counts: ``digits.counts()``.
    """
    fids = list(zip(*counts[:2], strict=True))
    rows = [(f"{count} real digits against {count} others", f"{fid:.3g}") for count, fid in (fids[0], fids[-1])]
    rows += [(title, f"{value:.3g}") for title, value, _ in digits.faults()]
    rows += [(title, f"{value:.1%}") for title, value, _ in digits.labels()]
    for name, cases in plane.items():
        rows += [(f"{name}: {title}", *(f"{value:.2f}" for value in measured(real, generated).values()))
                 for title, real, generated in cases]
    return rows


# Digits


class Digits:
    """The embedded digits in two halves: real digits, and digits that are compared with them."""

    def __init__(self):
        from common.data import datasets
        from common.evaluation.classifier import Classifier

        pictures = datasets.load("digits")
        order = np.random.RandomState(SEED).permutation(len(pictures.images))
        self.classifier = Classifier.load("mnist")
        self.images = pictures.images[order].astype("float32") / 127.5 - 1
        self.labels_of = pictures.labels[order]
        self.features = self.classifier.features(self.images)
        self.half = len(order) // 2

    def faults(self):
        """Two sets of digits with different faults and about the same FID: [(title, FID, 40 of the pictures)]."""
        from common.evaluation.metrics import frechet_distance

        real, others = self.features[:self.half], slice(self.half, None)
        noise = np.random.RandomState(SEED).normal(0, 0.22, self.images[others].shape).astype("float32")
        noisy = np.clip(self.images[others] + noise, -1, 1)
        few = self.images[others][self.labels_of[others] < 7]
        return [(title, frechet_distance(real, self.classifier.features(images)), images[:40])
                for title, images in (("all ten digits, with noise", noisy), ("clean, but no 7, 8 or 9", few))]

    def labels(self):
        """Two sets of digits on request: [(title, label agreement, 40 of the pictures)], ten of a class in a row."""
        from common.evaluation.metrics import label_agreement

        def case(title, chosen):
            wanted = self.labels_of[chosen]
            found = self.classifier.probabilities(self.images[chosen]).argmax(1)
            return title, label_agreement(wanted, found, 10)[0], self.images[chosen][np.argsort(wanted, kind="stable")]

        certain = self.classifier.probabilities(self.images)[np.arange(len(self.images)), self.labels_of]
        best = [max(np.flatnonzero(self.labels_of == label), key=lambda i: certain[i]) for label in range(10)]
        each = np.concatenate([np.flatnonzero(self.labels_of == label)[:40] for label in range(10)])
        return [case("one picture of each digit", np.repeat(best, 40)), case("four hundred different ones", each)]

    def counts(self):
        """Real digits against other real digits, by number of digits: (counts, FIDs, KIDs, [intervals of the KIDs])."""
        from common.evaluation.metrics import frechet_distance, kernel_distance

        counts = [150, 200, 300, 400, 600, self.half]
        pairs = [(self.features[:n], self.features[self.half:self.half + n]) for n in counts]
        kids = [kernel_distance(*pair, np.random.RandomState(SEED)) for pair in pairs]
        return counts, [frechet_distance(*pair) for pair in pairs], kids


# Points on a plane


def points():
    """Real and generated points that show what each metric notices: name → two cases (title, real, generated)."""
    random = np.random.RandomState(SEED)

    def cloud(count, centre, spread):
        return random.normal(0, spread, [count, 2]) + centre

    centres = [(-2, 0), (2, 0), (0, 2.6)]
    real = np.concatenate([cloud(40, centre, 0.5) for centre in centres])
    alike = np.concatenate([cloud(40, centre, 0.5) for centre in centres])
    wide = np.concatenate([cloud(40, centre, 1.3) for centre in centres])
    one = cloud(120, (-2, 0), 0.05)
    third = cloud(120, (-2, 0), 0.5)
    outlier = np.concatenate([real, [[7.0, 3.0]]])
    astray = cloud(120, (6, 2.5), 0.8)
    return {"precision": [("one picture, many times", real, one), ("wide of the mark", real, wide)],
            "recall": [("one kind of three", real, third), ("all kinds, and wrong ones", real, wide)],
            "density": [("beside one odd real picture", outlier, astray), ("where many real ones are", real, one)],
            "coverage": [("one kind of three", real, third), ("like the real ones", real, alike)]}


def measured(real, generated):
    """Precision, recall, density and coverage by name."""
    from common.evaluation.metrics import density_coverage, precision_recall

    return dict(zip(("precision", "recall", "density", "coverage"),
                    (*precision_recall(real, generated), *density_coverage(real, generated)), strict=True))


# A GAN of points


def toy_gan(iterations=3000, every=50):
    """Train G to draw points on a ring, with one sigmoid: (iterations, D's losses, G's losses, Fréchet distances)."""
    import paddle
    from paddle import nn
    from paddle.nn import functional as F

    from common.evaluation.metrics import frechet_distance

    paddle.seed(SEED)
    random = np.random.RandomState(SEED)

    def network(inputs, outputs):
        return nn.Sequential(nn.Linear(inputs, 32), nn.LeakyReLU(0.2), nn.Linear(32, 32), nn.LeakyReLU(0.2),
                             nn.Linear(32, outputs))

    def ring(count):
        angle = random.uniform(0, 2 * np.pi, count)
        return (np.stack([np.cos(angle), np.sin(angle)], 1) * random.normal(2, 0.1, [count, 1])).astype("float32")

    def noise(count):
        return paddle.to_tensor(random.normal(size=[count, 4]).astype("float32"))

    generator, discriminator = network(4, 2), network(2, 1)
    adams = [paddle.optimizer.Adam(1e-3, 0.5, parameters=net.parameters()) for net in (discriminator, generator)]

    def step(adam, *terms):
        losses = [F.binary_cross_entropy_with_logits(logits, paddle.full_like(logits, target))
                  for logits, target in terms]
        adams[0].clear_grad()
        adams[1].clear_grad()
        sum(losses).backward()
        adam.step()
        return float(sum(losses))

    records, held = [], ring(500)
    for iteration in range(iterations + 1):
        fakes = generator(noise(64))
        d_loss = step(adams[0], (discriminator(paddle.to_tensor(ring(64))), 1.0), (discriminator(fakes.detach()), 0.0))
        g_loss = step(adams[1], (discriminator(generator(noise(64))), 1.0))
        if iteration % every == 0:
            distance = frechet_distance(held, generator(noise(500)).numpy())
            records.append((iteration, d_loss, g_loss, distance))
    return tuple(map(np.array, zip(*records, strict=True)))


# Pictures


def figure(columns=2, height=2.7):
    """A figure of small panels side by side: (figure, its axes)."""
    from common.plotting import subplots

    return subplots(1, columns, figsize=(7.2, height), dpi=90, layout="constrained")


def save(path, drawn):
    """Write a figure as a PNG of few colours, which is a third as large."""
    from PIL import Image

    from common.files import replacing

    drawn.canvas.draw()
    whole = Image.fromarray(np.asarray(drawn.canvas.buffer_rgba())).convert("RGB")
    small = whole.quantize(48, dither=Image.Dither.NONE)
    with replacing(path) as temporary:
        small.save(temporary, "png", optimize=True)


def draw_losses(path, trained):
    """Draw the loss by D's output, with one sigmoid and with two; and the losses of a training, which say little."""
    drawn, (left, right) = figure()
    logit = np.linspace(-6, 6, 200)

    def term(x):  # the loss of a real picture: cross entropy with label 1
        return np.log1p(np.exp(-x))

    left.plot(logit, term(logit), label="one sigmoid")
    left.plot(logit, term(1 / (1 + np.exp(-logit))), label="two sigmoids")
    left.set(xlabel="D: not real ← logit → real", ylabel="loss of a real picture", ylim=(0, 3))
    left.legend(frameon=False)
    iterations, d_loss, g_loss, distance = trained
    right.plot(iterations, d_loss, label="D's loss")
    right.plot(iterations, g_loss, label="G's loss")
    right.plot(iterations, distance, "k--", label="distance to the real points")
    right.set(xlabel="iteration", ylim=(0, None))
    right.legend(frameon=False, fontsize=8)
    save(path, drawn)


def draw_grids(path, cases):
    """Draw forty pictures of each of two sets."""
    from common.plotting import tile

    drawn, axes = figure(height=1.9)
    for axis, (title, value, images) in zip(axes, cases, strict=True):
        axis.imshow(tile(images[spread(len(images), 40)], 4, 10, pad=0), cmap="Greys_r", vmin=-1, vmax=1)
        axis.axis("off")
        shown = f"label agreement {value:.1%}" if "agreement" in path.name else f"FID {value:.3g}"
        axis.set_title(f"{title}\n{shown}", fontsize=9)
    save(path, drawn)


def draw_counts(path, found):
    """Draw FID and KID of real pictures against other real pictures, by their number."""
    counts, fids, kids = found
    drawn, (left, right) = figure()
    left.plot(counts, fids, "o-")
    left.set(xlabel="pictures of each kind", ylabel="FID, real against real", ylim=(0, None))
    value, low, high = np.array(kids).T
    right.plot(counts, value, "o-")
    right.fill_between(counts, low, high, alpha=0.3)
    right.axhline(0, color="k", linewidth=0.8)
    right.set(xlabel="pictures of each kind", ylabel="KID, real against real")
    save(path, drawn)


def draw_points(path, cases, name):
    """Draw real and generated points, and the balls that the metric is computed from."""
    from matplotlib.collections import EllipseCollection

    drawn, axes = figure(height=3)
    for axis, (title, real, generated) in zip(axes, cases, strict=True):
        owner, colour = (generated, "C1") if name == "recall" else (real, "C0")
        neighbours = 5 if name in ("density", "coverage") else K
        radii = np.sort(np.linalg.norm(owner[:, None] - owner, axis=2), 1)[:, neighbours]
        axis.add_collection(EllipseCollection(2 * radii, 2 * radii, np.zeros(len(radii)), offsets=owner, units="xy",
                                              transOffset=axis.transData, facecolor=colour, alpha=0.08))
        axis.plot(*real.T, "o", color="C0", markersize=3, label="real")
        axis.plot(*generated.T, "x", color="C1", markersize=3.5, label="generated")
        axis.set(aspect="equal", xticks=[], yticks=[])
        values = ", ".join(f"{key} {value:.2f}" for key, value in measured(real, generated).items())
        axis.set_title(f"{title}\n{values}", fontsize=7.5)
    axes[0].legend(frameon=False, fontsize=8)
    save(path, drawn)


if __name__ == "__main__":
    sys.exit(run_command(main))
