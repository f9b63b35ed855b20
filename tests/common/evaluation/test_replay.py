"""The comparison with a trace, on a GAN of two arrays: what it draws, and each thing that it must see."""

import json

import numpy as np
import pytest

from common.errors import UserError
from common.evaluation import replay
from common.recipe import GAN

NAMES = {"a/bias": [[3], "bias"], "b/weight": [[4, 2, 1, 3], "weight"], "c/scale": [[3], "scale"],
         "d/mean": [[3], "mean"], "e/variance": [[3], "variance"], "f/weight": [[4, 5], "weight"]}


class TwoRuns(GAN):
    """A run that draws pictures and moves the mean, and one that trains a weight and a bias whose gradient is noise."""

    def __init__(self):
        self.arrays = {name: np.full(shape, np.nan, "float32") for name, (shape, _) in NAMES.items()}

    def state(self):
        return {name: array.copy() for name, array in self.arrays.items()}

    def load_state(self, arrays):
        self.arrays = {name: arrays[name].copy() for name in arrays}

    def random_batch(self, count, random):
        return random.uniform(-1, 1, [count, 3]).astype("float32")

    def noise(self, count, random):
        return random.uniform(-1, 1, [count, 3]).astype("float32")

    def sample(self, noise):
        return noise + self.arrays["d/mean"]

    def step(self, batch, random):
        self.arrays["d/mean"] += batch.mean(0)
        self.seen(self.sample(self.noise(2, random)))
        gradient = np.full([4, 5], 0.5, "float32")
        self.arrays["f/weight"] += gradient
        self.arrays["f/weight_moment1_0"] = gradient
        self.arrays["a/bias"] += np.float32(1e-4)
        self.arrays["a/bias_moment1_0"] = np.full([3], 1e-9, "float32")
        self.arrays["f/weight_beta1_pow_acc_0"] = np.full([1], random.uniform(), "float32")
        self.seen(np.float32(self.arrays["f/weight"].mean()).reshape([1]))


def numbers(array):
    array = np.float64(array)
    return {"mean": array.mean(), "rms": np.sqrt((array ** 2).mean()), "at": replay.some(array).tolist()}


@pytest.fixture
def trace():
    """What `TwoRuns` computes in two iterations, written down by hand."""
    gan, random, runs = TwoRuns(), replay.Random(7), []
    gan.load_state(replay.weights(NAMES, random))
    for iteration in range(2):
        before = [gan.state()]

        def write(result, iteration=iteration, before=before):
            run = {"program": f"run {len(runs) % 2}", "loss": float(result[0]) if result.size == 1 else None}
            if result.size > 1:
                run["pictures"] = numbers(result)
            if iteration == 0:
                state = gan.state()
                run["changed"] = {name: numbers(array) for name, array in state.items() if "_pow_acc" not in name
                                  and not np.array_equal(array, before[0].get(name))}
                before[0] = state
            runs.append(run)

        gan.seen = write
        gan.step(gan.random_batch(2, random), random)
    return {"recipe": "two", "software": "NumPy", "seed": 7, "batch": 2, "iterations": 2, "names": {**NAMES},
            "runs": runs, "g_program_test": numbers(gan.sample(gan.noise(2, random)))}


def faults(trace, gan=None):
    return [fault for run in replay.replay(trace, gan or TwoRuns()) for fault in run.faults]


def test_the_same_computation_differs_in_nothing(trace):
    runs = replay.replay(trace, TwoRuns())
    assert [run.program for run in runs] == ["run 0", "run 1", "run 0", "run 1", "g_program_test"]
    assert [set(run.arrays) for run in runs] == [{"pictures", "d/mean"}, {"f/weight", "f/weight_moment1_0"},
                                                 {"pictures"}, set(), {"pictures"}]
    assert runs[1].noise.keys() == {"a/bias"}
    assert [run.loss for run in runs] == [None, 0, None, 0, None]
    assert max(run.worst[1] for run in runs if run.worst) < 1e-15
    assert faults(trace) == []


@pytest.mark.parametrize(("change", "words"), [
    (lambda runs: runs[1].update(loss=runs[1]["loss"] * 1.00001), "loss is off by 1e-05, the bound is 1e-06"),
    (lambda runs: runs[1].update(loss=float("nan")), "loss is off by nan"),
    (lambda runs: runs[3].update(loss=runs[3]["loss"] * 1.02), "loss is off by 2e-02, the bound is 1e-02"),
    (lambda runs: runs[1]["changed"]["f/weight"]["at"].__setitem__(3, 9.0), "f/weight is off by 8e-01"),
    (lambda runs: runs[1]["changed"]["f/weight"].update(rms=9.0), "f/weight is off by"),
    (lambda runs: runs[1]["changed"]["f/weight_moment1_0"].update(mean=0.6), "f/weight_moment1_0 is off by 2e-01"),
    (lambda runs: runs[0]["pictures"].update(mean=5.0), "pictures is off by"),
    (lambda runs: runs[2]["pictures"].update(mean=5.0), "pictures is off by"),
    (lambda runs: runs[0]["changed"].pop("d/mean"), "only ours changes d/mean"),
    (lambda runs: runs[0]["changed"].update({"e/variance": numbers(np.ones(3))}), "only the original changes e/var"),
    (lambda runs: runs[1]["changed"]["a/bias"].update(at=[at - 9.9e-5 for at in runs[1]["changed"]["a/bias"]["at"]]),
     "a/bias moved by 1e-04, the original's by"),
])
def test_each_difference_is_seen(trace, change, words):
    change(trace["runs"])
    assert any(words in fault for fault in faults(trace)), faults(trace)


def test_pictures_of_the_end_are_compared(trace):
    trace["g_program_test"]["mean"] += 1
    assert faults(trace)


def test_a_run_too_many_or_too_few_is_seen(trace):
    less = {**trace, "runs": [run for i, run in enumerate(trace["runs"]) if i % 2 == 0]}
    assert "only ours has this run" in faults(less)
    more = {**trace, "runs": [run for run in trace["runs"] for _ in range(2)]}
    assert "only the original has this run" in faults(more)


def test_weights_are_drawn_as_described():
    drawn = replay.weights(NAMES, np.random.RandomState(3))
    random = np.random.RandomState(3)
    expected = [0.1 * random.normal(0, 1, [3]), random.normal(0, 1, [4, 2, 1, 3]) / 6 ** 0.5,
                1 + 0.1 * random.normal(0, 1, [3]), np.zeros(3), np.ones(3), random.normal(0, 1, [4, 5]) / 2]
    for array, values in zip(drawn.values(), expected, strict=True):
        assert array.dtype == np.float32 and np.array_equal(array, np.float32(values))


def test_bits_are_uniform_numbers_below_a_half():
    bits = np.unpackbits(np.frombuffer(replay.Random(5).bytes(3), "uint8"))
    assert bits.tolist() == (np.random.RandomState(5).uniform(size=24) < 0.5).astype(int).tolist()


@pytest.mark.parametrize("change", [
    lambda trace: trace.pop("names"), lambda trace: trace.update(batch=0), lambda trace: trace.update(batch=10 ** 9),
    lambda trace: trace.update(iterations=3), lambda trace: trace.update(names=[1]), lambda trace: trace.update(runs=7),
    lambda trace: trace["names"].update(x=[[3], "colour"]), lambda trace: trace["names"].update(x=[["3"], "bias"]),
    lambda trace: trace.update(recipe=[]), lambda trace: trace.update(batch=1.5),
    lambda trace: trace["runs"][1].update(loss=0),
    lambda trace: trace["runs"][0]["pictures"].update(at=[]), lambda trace: trace["runs"][1].update(loss="high"),
])
def test_what_is_no_trace_is_refused(trace, change, tmp_path):
    (tmp_path / "own.json").write_text(json.dumps(trace))
    assert replay.load(tmp_path / "own.json") == trace
    change(trace)
    (tmp_path / "own.json").write_text(json.dumps(trace))
    with pytest.raises(UserError, match="own.json is no trace"):
        replay.load(tmp_path / "own.json")


def test_a_trace_of_other_networks_is_refused(trace):
    trace["names"] = {**NAMES, "a/bias": [[4], "bias"]}
    with pytest.raises(UserError, match=r"a/bias \[4\]"):
        faults(trace)
