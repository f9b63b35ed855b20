"""Compare this project with traces: numbers that a tutorial's original computed on the software of its time.

A trace is a JSON file, described in ``tests/traces/README.md``. It holds the seed of the inputs, and for each run of a
program the loss and some numbers of each array that the run changed. `replay` gives the same inputs to a GAN and
compares its numbers with the trace.
"""

import json
import statistics
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from common.errors import UserError
from common.files import expanded, refuse_pipe

LARGEST_BATCH = 4096
KINDS = ("weight", "bias", "shift", "scale", "mean", "variance")  # of arrays, see `weights`


class Bound(NamedTuple):
    """How far a run's numbers may be off, relative to the original's numbers."""

    loss: float
    median: float  # of the differences of all arrays
    worst: float


# The original and this project do the same arithmetic, but sum in another order: the first run differs only by
# rounding. Adam's first steps move a weight by the learning rate, whatever the size of its gradient. So if a gradient
# is near zero, its rounding error becomes a whole step. Later steps build on it, and the differences grow.
BY_STEPS = (
    # Before Adam's first step. The largest seen: loss 2e-7, median 2e-6, worst 3e-5, in TensorFlow's moving variance,
    # which is the unbiased one. With one thread the worst was 1e-3, in three channels of the book's D: if two pixels of
    # a pool differ by rounding alone, or one is almost zero, then rounding decides which way its gradient takes.
    Bound(loss=1e-6, median=1e-5, worst=2e-3),
    Bound(loss=1e-5, median=2e-4, worst=2e-2),  # after one step. Seen: 1e-6, 2e-5, 3e-3
    Bound(loss=1e-5, median=1e-1, worst=1.0),  # after two or more. Seen: 3e-6, 3e-2, 2e-1; a wrong sign is off by 2
)
# From here on a trace has only losses, and the `whole` of pictures. Seen: 1e-3 and 4e-4; after that 2e-2 and 1e-1
SECOND_ITERATION = Bound(loss=1e-2, median=1e-2, worst=1e-2)
LATER = Bound(loss=5e-2, median=2e-1, worst=2e-1)
NOISE = 1e-3  # a gradient is nothing but rounding error if it is smaller than this share of its run's median
# A weight with such a gradient moves at most 4 times as far as the original's. Seen: 2; with Paddle's own Adam up to 40
FURTHER = 4


@dataclass
class Run:
    """One run of a program, the original's and ours."""

    iteration: int  # from 1
    program: str
    bound: Bound
    original: float | None = None  # loss
    ours: float | None = None
    arrays: dict = field(default_factory=dict)  # name → difference
    noise: dict = field(default_factory=dict)  # name → how far it moved, (original, ours): see `rounding_alone`
    strays: list = field(default_factory=list)  # names of arrays that only one of the two has changed, or other faults

    @property
    def loss(self):
        """The losses' difference, relative to the original; None without losses."""
        return None if self.original is None else abs(self.ours - self.original) / abs(self.original)

    @property
    def median(self):
        """The median of the arrays' differences; None without arrays."""
        return statistics.median(self.arrays.values()) if self.arrays else None

    @property
    def worst(self):
        """The name of the array that differs most, and its difference; None without arrays."""
        return max(self.arrays.items(), key=lambda item: (not item[1] <= np.inf, item[1]), default=None)

    @property
    def faults(self):
        """The numbers that are beyond their bounds, in words; an empty list if there are none."""
        found = list(self.strays)
        measured = {"loss": self.loss, "median of the arrays": self.median}
        if self.worst:
            measured[self.worst[0]] = self.worst[1]
        for (what, value), bound in zip(measured.items(), self.bound, strict=False):
            if value is not None and not value <= bound:  # true for NaN too
                found.append(f"{what} is off by {value:.0e}, the bound is {bound:.0e}")
        found += [f"{name} moved by {ours:.0e}, the original's by {original:.0e}"
                  for name, (original, ours) in self.noise.items() if not ours <= FURTHER * original]
        return found


class Random(np.random.RandomState):
    """NumPy's random numbers; each random bit for dropout comes from one uniform number, as in the traces."""

    def bytes(self, length):
        """Draw 8·length uniform numbers; a bit is set if its number is below 1/2."""
        return np.packbits(self.uniform(size=8 * length) < 0.5).tobytes()


def load(path):
    """Read a trace.

    Raises:
        UserError: the file cannot be read, or is no trace.
    """
    path = expanded(path)
    refuse_pipe(path)
    try:
        trace = json.loads(path.read_text(encoding="utf-8"))
        np.random.RandomState(trace["seed"])
        trace["software"]
        if not isinstance(trace["recipe"], str):
            raise ValueError("the recipe is no name")
        if not (isinstance(trace["batch"], int) and 1 <= trace["batch"] <= LARGEST_BATCH):
            raise ValueError(f"a batch of {trace['batch']}")
        for name, (shape, kind) in trace["names"].items():
            np.empty([0, *shape])
            if kind not in KINDS:
                raise ValueError(f"{name} of kind {kind}")
        runs = trace["runs"]
        for run in runs:
            run["program"]
            if run["loss"] is not None and not float(run["loss"]):
                raise ValueError("a loss of 0")
            for numbers in (*run.get("changed", {}).values(), *([run["pictures"]] if "pictures" in run else [])):
                float(numbers["mean"]), float(numbers["rms"]), np.float64(numbers["at"]).max()
        if not runs or trace["iterations"] < 1 or len(runs) % trace["iterations"]:
            raise ValueError(f"{len(runs)} runs in {trace['iterations']} iterations")
        return trace
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is no trace ({type(error).__name__}: {error}); "
                        "tests/traces/README.md describes one") from error


def weights(names, random):
    """The weights that a trace starts from.

    Args:
        names: name → (shape, kind).
        random: ``numpy.random.RandomState``; the weights are drawn from it in the order of ``names``.

    Returns:
        name → array, float32.
    """
    arrays = {}
    for name, (shape, kind) in names.items():
        if kind in ("mean", "variance"):
            array = np.full(shape, float(kind == "variance"))
        else:
            array = random.normal(0, 1, shape)
            if kind == "weight":
                array /= np.sqrt(np.prod(shape[1:]) if len(shape) == 4 else shape[0])
            else:
                array = float(kind == "scale") + 0.1 * array
        arrays[name] = array.astype("float32")
    return arrays


def some(array):
    """The single values of an array that a trace keeps, at most eight, float64."""
    return np.float64(array.ravel()[np.linspace(0, array.size - 1, min(8, array.size)).round().astype(int)])


def whole(array, numbers):
    """How far an array's mean and root mean square are off, relative to the original's root mean square."""
    array = np.float64(array)
    return max(abs(array.mean() - numbers["mean"]), abs(np.sqrt((array ** 2).mean()) - numbers["rms"])) / numbers["rms"]


def difference(array, numbers):
    """The larger of two relative differences: `whole`, and that of the `some` values to the original's largest one."""
    at = np.array(numbers["at"])
    return float(np.maximum(whole(array, numbers), np.abs(some(array) - at).max() / np.abs(at).max()))


def rounding_alone(changed):
    """The names of the trained arrays whose true gradient is zero: biases that a batch norm subtracts again.

    Their computed gradient is rounding error, and Adam makes steps of it. They are recognised by the small first
    moments in the original's trace.
    """
    sizes = {name.split("moment1")[0][:-1]: numbers["rms"] for name, numbers in changed.items() if "moment1" in name}
    limit = NOISE * statistics.median(sizes.values()) if sizes else 0
    return {name for name, size in sizes.items() if size < limit}


def replay(trace, gan):
    """Repeat a trace's runs with a GAN of ours, from the same weights, pictures, noise and dropout.

    Args:
        trace: see `load`.
        gan: a new GAN of the trace's recipe, as ``GAN.original`` makes it.

    Returns:
        The `Run`s in order.

    Raises:
        UserError: the trace's networks are not those of ``gan``.
    """
    state = gan.state()
    for name, (shape, _) in trace["names"].items():
        if name not in state or list(state[name].shape) != shape:
            raise UserError(f"the trace has {name} {shape}; this project's networks of {trace['recipe']} have no such "
                            "array; take a trace of the same networks")
    random = Random(trace["seed"])
    gan.load_state({**state, **weights(trace["names"], random)})
    watcher = _Watcher(trace, gan)
    gan.seen = watcher.seen
    for iteration in range(1, trace["iterations"] + 1):
        watcher.begin(iteration)
        gan.step(gan.random_batch(trace["batch"], random), random)
        watcher.end()
    del gan.seen
    if pictures := trace.get("g_program_test"):  # with moving averages, after all iterations
        drawn = gan.sample(gan.noise(trace["batch"], random))
        watcher.add("g_program_test", arrays={"pictures": whole(drawn, pictures)})
    return watcher.runs


class _Watcher:
    """Compares each run of an iteration while it goes on."""

    def __init__(self, trace, gan):
        self.gan, self.state = gan, gan.state()
        count = len(trace["runs"]) // trace["iterations"]
        self.originals = [trace["runs"][i:i + count] for i in range(0, len(trace["runs"]), count)]
        self.at = {}  # name → the original's latest values
        self.steps = 0  # of Adam, in the original
        self.runs = []

    def begin(self, iteration):
        self.iteration, self.left = iteration, list(self.originals[iteration - 1])

    def bound(self):
        if self.iteration == 1:
            return BY_STEPS[min(self.steps, len(BY_STEPS) - 1)]
        return SECOND_ITERATION if self.iteration == 2 else LATER

    def end(self):
        for run in self.left:
            self.add(run["program"], strays=["only the original has this run"])

    def add(self, program, **results):
        self.runs.append(Run(self.iteration, program, self.bound(), **results))
        return self.runs[-1]

    def seen(self, result):
        if not self.left:
            self.add("", strays=["only ours has this run"])
            return
        original, result = self.left.pop(0), np.array(result)
        run = self.add(original["program"], original=original["loss"])
        if run.original is not None:
            run.ours = float(result.reshape(-1)[0])
        if "pictures" in original:
            compare = difference if self.iteration == 1 else whole
            run.arrays["pictures"] = compare(result, original["pictures"])
        if "changed" in original:
            self.compare(run, original["changed"])

    def compare(self, run, changed):
        state = self.gan.state()
        ours = {name for name, array in state.items()
                if not np.array_equal(array, self.state.get(name)) and "_pow_acc" not in name}
        run.strays = [*(f"only ours changes {name}" for name in sorted(ours - set(changed))),
                      *(f"only the original changes {name}" for name in sorted(set(changed) - ours))]
        noise = rounding_alone(changed)
        for name, numbers in changed.items():
            if name in noise:
                before = some(self.state[name])
                run.noise[name] = (float(np.abs(numbers["at"] - self.at.get(name, before)).max()),
                                   float(np.abs(some(state[name]) - before).max()))
                self.at[name] = np.array(numbers["at"])
            elif not any(name.startswith(each) and "moment" in name for each in noise) and name in state:
                run.arrays[name] = difference(state[name], numbers)
        self.steps += any("moment1" in name for name in changed)
        self.state = state
