"""What the originals computed on their own software, computed again by this project: see README.md here.

The bounds, and what was seen, stand in `common.evaluation.replay`.
"""

import paddle
import pytest

from common.backend import fast
from common.evaluation import replay
from static_mnist import static_gan
from tools.replay import TRACES, make

# Biases that a batch norm takes away again: each stands directly before one, but for note 6's shift, which a dense
# layer without an activation hands on
TAKEN_AWAY = {
    "book": {"conv2b", "fc1b", "fc3b", "fc4b"},
    "note6": {"D/conv2d_1.b_0", "D/fc_0.b_0", "G/fc_0.b_0", "G/fc_1.b_0", "G/batch_norm_0.b_0"},
    "cgan": {*(f"discriminator/conv2d_{i}/bias" for i in range(3)),
             *(f"generator/conv2d_transpose_{i}/bias" for i in range(2))},
    "faces": set(),  # no convolution has a bias
}


@pytest.fixture(scope="module", params=[(name, fast_ops) for name in TAKEN_AWAY for fast_ops in "10"],
                ids=lambda param: f"{param[0]}-{'fast' if param[1] == '1' else 'plain'}")
def replayed(request):
    """A recipe's name, its trace, and the runs: with the fast operators, and the beginning with Paddle's own."""
    name, fast_ops = request.param
    if fast_ops == "1" and not fast.available():
        pytest.skip("the fast operators cannot be built here")
    trace = replay.load(TRACES / f"{name}.json")
    if fast_ops == "0":
        trace = beginning(trace, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_FAST_OPS", fast_ops)
        return name, trace, replay.replay(trace, make(trace))


def test_each_run_has_the_originals_losses_and_arrays(replayed):
    _, trace, runs = replayed
    assert {number: run.faults for number, run in enumerate(runs, 1) if run.faults} == {}
    assert [run.program for run in runs if run.program != "g_program_test"] == [run["program"] for run in trace["runs"]]
    first = runs[:len(trace["runs"]) // trace["iterations"]]
    assert all(set(run.arrays) - {"pictures"} for run in first)


def test_biases_before_a_batch_norm_hardly_move(replayed):
    """Of a step's 2e-4 the originals' move by 0.7 % in fluid, by 40 % in TensorFlow, whose gradients are larger."""
    name, _, runs = replayed
    moves = [(bias, distance) for run in runs for bias, both in run.noise.items() for distance in both]
    assert {bias for bias, _ in moves} == TAKEN_AWAY[name]
    for bias, distance in moves:
        assert 0 < distance < (1e-4 if name == "cgan" else 2e-6), bias


def test_paddles_own_adam_is_told_apart(monkeypatch):
    monkeypatch.setattr(static_gan, "fluid_adam", paddle.optimizer.Adam)
    trace = beginning(replay.load(TRACES / "book.json"), 1)
    faults = [fault for run in replay.replay(trace, make(trace)) for fault in run.faults]
    assert sum("moved by" in fault for fault in faults) >= 4
    assert any("is off by" in fault for fault in faults)


def beginning(trace, iterations):
    """A trace of the first iterations alone."""
    count = len(trace["runs"]) // trace["iterations"]
    return {**trace, "iterations": iterations, "runs": trace["runs"][:count * iterations], "g_program_test": None}
