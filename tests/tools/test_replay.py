"""tools/replay.py: its table, its exit codes, its refusals. What it compares is tested elsewhere."""

import json

import pytest

from common.evaluation import replay
from common.evaluation.replay import BY_STEPS, LATER, Run
from tests.helpers import caller
from tools import replay as tool


@pytest.fixture
def call(capsys):
    return caller(tool.main, capsys)


@pytest.fixture
def runs(monkeypatch):
    """Stand in for what the comparison finds; nothing is computed."""
    found = [Run(1, "draw", BY_STEPS[0], arrays={"pictures": 1e-7, "bn33": 2e-7, "discriminator/conv2d_1/bias": 3e-5}),
             Run(1, "train", BY_STEPS[0], 0.5, 0.5000002, {"fc1w": 2e-6}), Run(2, "train", LATER, 0.25, 0.26)]
    monkeypatch.setattr(tool, "make", lambda trace: None)
    monkeypatch.setattr(replay, "replay", lambda trace, gan: found)
    return found


def test_a_table_of_all_tutorials(call, runs):
    code, out, err = call()
    assert (code, err) == (0, "")
    assert [line.split(":")[0] for line in out.split("\n") if "batch" in line] == ["book", "note6", "cgan", "faces"]
    assert out.splitlines()[2:6] == [
        "  1 draw                                        2e-07  3e-05 …tor/conv2d_1/bias",
        "  2 train           0.500000  0.500000  4e-07   2e-06  2e-06 fc1w",
        "  3 train           0.250000  0.260000  4e-02",
        "all runs are within their bounds"]
    assert max(len(line) for line in out.splitlines() if "batch" not in line) <= 80


def test_beyond_a_bound_the_exit_code_is_1(call, runs):
    runs[2].ours = 0.5
    code, out, _ = call("note6", "book")
    assert code == 1
    assert out.count("! 3 train ") == out.count("run 3 train: loss is off by 1e+00, the bound is 5e-02") == 2


def test_a_file_of_ones_own(call, runs, tmp_path):
    trace = json.loads((tool.TRACES / "note6.json").read_text())
    (tmp_path / "own.json").write_text(json.dumps({**trace, "seed": 12}))
    assert "batch 32, seed 12" in call(tmp_path / "own.json")[1]


def test_a_bad_file_is_one_line(call, tmp_path):
    (tmp_path / "own.json").write_text('{"recipe": "book"}')
    code, _, err = call(tmp_path / "own.json")
    assert (code, err.count("\n")) == (2, 1) and "own.json is no trace" in err
    code, _, err = call(tmp_path / "none.json")
    assert (code, err.count("\n")) == (2, 1) and "cannot read" in err
