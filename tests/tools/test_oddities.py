"""tools/oddities.py with narrow networks on the embedded digits, an epoch of two steps."""

import shutil
import statistics
from functools import partial

import pytest

from common import plotting
from common.errors import RunStopped
from common.evaluation import scores
from common.evaluation.scores import digits
from common.report import page as report
from common.training import checkpoint
from common.training.records import Records
from static_mnist import book
from tests.helpers import caller
from tools import oddities

COUNT = 140  # more than the features have numbers
SMALL = ["--dataset", "digits", "--batch_size", "800", "--epoch", "1", "--count", str(COUNT), "--seeds", "2"]


@pytest.fixture
def call(narrow, tmp_path, capsys, monkeypatch):
    """The command in this process: exit code, stdout, stderr. What is only drawn is left out."""
    monkeypatch.setattr(scores, "save_figure", lambda *_: None)
    for name in ("save_losses", "save_animation", "save_tutorial_grid"):
        monkeypatch.setattr(plotting, name, lambda *_: None)
    monkeypatch.setattr(report, "write", lambda *_, **__: None)

    return partial(caller(oddities.main, capsys), "--output", tmp_path / "runs")


def test_a_table_of_means_and_deviations(call, tmp_path, monkeypatch):
    code, out, _ = call(*SMALL, "--fix", "max_pool")
    assert code == 0
    names = [f"book_{kind}_{seed}" for kind in ("default", "max_pool") for seed in (0, 1)]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == names
    runs = [tmp_path / "runs" / name for name in names]
    options = [Records(run).read_config()["options"] for run in runs]
    assert [(each["fix"], each["seed"]) for each in options] == [([], 0), ([], 1), (["max_pool"], 0), (["max_pool"], 1)]

    caption, _, head, _, default, mended = out.splitlines()[-6:]
    assert f" {COUNT}/{COUNT} digits train: 1 epoch, mean ± standard deviation of 2 seeds" in caption
    assert head.replace("|", "").split() == ["FID", "KID", "precision", "recall", "density", "coverage"]
    fid = [next(value for name, value in Records(run).evaluations()[-1].items() if name.startswith("fid "))
           for run in runs]
    for line, kind, (a, b) in ((default, "default", fid[:2]), (mended, "max_pool", fid[2:])):
        mean, deviation = digits(statistics.mean([a, b]), 3), digits(statistics.stdev([a, b]), 2)
        assert [cell.strip() for cell in line.split("|")][1:3] == [kind, f"{mean} ± {deviation}"]
    assert len(set(fid)) == 4

    for other, words in ((["--batch_size", "600"], "batch_size 800, not 600"), ([], "batch_size 800, not 128")):
        code, _, err = call(*SMALL[:2], *other, *SMALL[4:], "--fix", "max_pool")
        assert code == 2 and f"was made with {words}" in err  # such runs go into no table with others

    monkeypatch.setattr(book.BookGAN, "step", None)  # nothing is trained or measured again
    monkeypatch.setattr(scores.Evaluation, "compare", None)
    code, again, _ = call(*SMALL, "--fix", "max_pool")
    assert (code, again.splitlines()[-6:]) == (0, out.splitlines()[-6:])


def test_what_was_stopped_goes_on(call, tmp_path, monkeypatch):
    step = book.BookGAN.step

    def stop(self, *args):
        losses = step(self, *args)
        stop.steps += 1
        if stop.steps == 3:  # the first of the second epoch
            raise RunStopped("stopped by SIGINT", exit_code=130)
        return losses

    stop.steps = 0
    monkeypatch.setattr(book.BookGAN, "step", stop)
    small = [*SMALL[:5], "2", *SMALL[6:-1], "1", "--fix", "double_sigmoid"]
    assert call(*small)[0] == 130
    code, out, _ = call(*small)
    assert code == 0 and "resuming" in out and "0001_0000.safetensors at step 2 of 4" in out
    assert stop.steps == 2 + 1 + 2 + 4
    assert "± " not in out.splitlines()[-1]  # one seed has no deviation


def test_fewer_epochs_than_the_runs_have_gone_on_to(call, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "KEEP_LAST", 1)
    once = [*SMALL[:-1], "1", "--fix", "max_pool"]
    twice = [*SMALL[:5], "2", *once[6:]]
    assert call(*twice)[0] == 0
    for name in "default", "max_pool":
        code, out, err = call(*once)
        assert code == 2 and err.count("\n") == 1 and not out, err  # nothing is trained before
        assert f"book_{name}_0 was trained beyond --epoch 1" in err
        assert "its --epoch 2 again, or another --output" in err
        shutil.rmtree(tmp_path / "runs" / "book_default_0", ignore_errors=True)
    assert call(*twice)[0] == 0


def test_each_oddity_of_the_recipe_by_default():
    args, more = oddities.options(["--recipe", "note6", "--data_dir", "x"])
    # Not those that are of the files alone
    assert args.fix == ["bn_activation", "double_sigmoid", "shared_moments", "adam_epsilon"]
    assert set(args.recipe.fixes) == {*args.fix, "colour_map", "own_range"} and more == ["--data_dir", "x"]
    fix = oddities.options(["--recipe", "faces"])[0].fix
    assert fix[0] == "data_range" and "bn_momentum" not in fix


@pytest.mark.parametrize(("args", "words"), [
    (["--fix", "noise"], ["--fix noise", "book has double_sigmoid, max_pool, adam_epsilon, all"]),
    (["--sedes", "3"], ["--sedes"]),
    (["--epoch", "0"], ["--epoch", "'0'"]),
    (["--seed", "5"], ["--seed is decided here"]),
    (["--max_steps=5"], ["--max_steps is decided here"]),
])
def test_refusals(call, tmp_path, args, words):
    code, _, err = call(*args)
    assert (code, err.count("\n")) == (2, 1)
    assert all(word in err for word in words), err
    assert not (tmp_path / "runs").exists()
