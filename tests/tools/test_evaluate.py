"""tools/evaluate.py on tiny runs: what is measured, kept, drawn and said."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError, run_command
from common.evaluation import metrics
from common.evaluation.classifier import Classifier
from common.evaluation.features import HogColour
from common.evaluation.scores import Evaluation, digits, short
from common.evaluation.trained import Trained
from common.training.records import Records
from static_mnist import generate, train
from tests.helpers import caller
from tools import evaluate

ROOT = Path(__file__).resolve().parents[2]
COUNT = 140  # more than the features have numbers


@pytest.fixture(scope="module")
def measured(book_run, tmp_path_factory):
    """The book's run, all of it measured."""
    run = shutil.copytree(book_run, tmp_path_factory.mktemp("measured") / "run")
    assert run_command(lambda: evaluate.main(["--run", str(run), "--count", str(COUNT)])) == 0
    return run


@pytest.fixture
def copy(measured, tmp_path):
    return shutil.copytree(measured, tmp_path / "copy")


@pytest.fixture
def call(capsys):
    """The command in this process: exit code, stdout, stderr."""
    return caller(evaluate.main, capsys)


def protocol(count=COUNT):
    return f"{Classifier.load('mnist').name} {count}/{count} digits train"


def test_each_checkpoint_has_its_numbers(measured):
    """Kept under names that tell how, and the same as by hand."""
    untrained, first, second = Records(measured).evaluations()
    assert [(each["step"], each["epoch"], each["batch"]) for each in (untrained, first, second)] == [
        (0, 0, 0), (1, 1, 0), (2, 2, 0)]
    run = Trained(measured)
    real = run.features.features(run.real("train", COUNT)[0])
    for each, pictures in ((untrained, run.untrained(COUNT)), (second, run.sample(COUNT))):
        generated = run.features.features(pictures[0])
        kid = metrics.kernel_distance(real, generated, np.random.RandomState(0))
        expected = dict(zip(("kid", "kid low", "kid high"), kid, strict=True))
        expected["fid"] = metrics.frechet_distance(real, generated)
        expected["precision"], expected["recall"] = metrics.precision_recall(real, generated)
        expected["density"], expected["coverage"] = metrics.density_coverage(real, generated)
        for name, value in expected.items():
            assert each[f"{name} {protocol()}"] == pytest.approx(value, rel=1e-4), name
    assert not [name for name in untrained if "real" in name]  # halves of 70 pictures are too few for 128 features


def test_real_pictures_halve_the_distance(book_run, tmp_path, call):
    """The floor: far below what a generator without training reaches."""
    run = shutil.copytree(book_run, tmp_path / "run")
    assert call("--run", run, "--count", 300, "--checkpoint", "0002_0000.safetensors")[0] == 0
    untrained, last = Records(run).evaluations()
    floor = short(protocol(300).replace("300/300", "half/300").replace("train", "real halves"), untrained)
    drawn = short(protocol(300), last)
    assert floor["fid"] < drawn["fid"] / 5
    assert floor["kid"] < drawn["kid"] / 5
    assert floor["coverage"] > 0.8 > drawn["coverage"]


def test_the_table_names_the_best(measured, call):
    code, out, err = call("--run", measured, "--count", COUNT)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert protocol() in lines[0]
    assert [line.split("  ")[0].strip() for line in lines[1:5]] == ["", "untrained generator", "1 epoch", "2 epochs"]
    assert [word for word in ("FID", "KID", "precision", "recall", "density", "coverage") if word not in lines[1]] == []
    distances = {each["epoch"]: each[f"fid {protocol()}"] for each in Records(measured).evaluations() if each["step"]}
    assert f"{distances[2]:#.4g}" in lines[4]
    assert len({len(line) for line in lines[1:5]}) == 1  # columns stand
    best = min(distances, key=distances.get)
    assert f"000{best}_0000.safetensors" in lines[5]
    mark = json.loads((measured / "best.json").read_text())
    assert mark == {"checkpoint": f"000{best}_0000.safetensors", f"fid {protocol()}": distances[best]}
    assert '<th scope="col">fid</th>' in (measured / "report.html").read_text()  # which was there before


def test_one_checkpoint_alone_is_not_marked_as_the_best(copy, call):
    before = (copy / "best.json").read_bytes()
    for epoch in (1, 2):  # one of them is not the marked one
        code, out, err = call("--run", copy, "--count", 150, "--checkpoint", f"000{epoch}_0000.safetensors")
        assert (code, err) == (0, "")
        assert ("not marked" in out) == (epoch == 1)  # after the second all are measured
        assert ((copy / "best.json").read_bytes() == before) == (epoch == 1)


def test_generate_draws_from_the_best(copy, tmp_path, capsys):
    draw = caller(generate.main, capsys)
    mark = json.loads((copy / "best.json").read_text())
    for name in ("0001_0000.safetensors", "0002_0000.safetensors"):
        (copy / "best.json").write_text(json.dumps({**mark, "checkpoint": name}))
        assert draw("--run", copy, "--checkpoint", "best", "--output", tmp_path / name)[0] == 0
        drawn = Trained(copy).sample(64, checkpoint=copy / "checkpoints" / name)[0][..., 0]
        np.testing.assert_array_equal(np.load(tmp_path / name / "generated.npy"), drawn)
    (copy / "checkpoints" / name).unlink()
    code, _, err = draw("--run", copy, "--checkpoint", "best", "--output", tmp_path / "gone")
    assert code == 2 and "is not there any more" in err and "tools/evaluate.py" in err
    (copy / "best.json").unlink()
    code, _, err = draw("--run", copy, "--checkpoint", "best", "--output", tmp_path / "unknown")
    assert code == 2 and "is not known yet" in err and "tools/evaluate.py" in err


def test_what_is_measured_is_not_measured_again(copy, call, monkeypatch):
    before = (copy / "metrics.jsonl").read_bytes()
    (copy / "metrics.png").unlink()
    with monkeypatch.context() as patch:
        for name in ("sample", "untrained", "real"):
            patch.setattr(Trained, name, None)
        assert call("--run", copy, "--count", COUNT)[0] == 0
    assert (copy / "metrics.jsonl").read_bytes() == before
    with Image.open(copy / "metrics.png") as figure:
        assert figure.size[0] > 1000

    assert call("--run", copy, "--count", COUNT, "--seed", 2, "--checkpoint", copy / "checkpoints" /
                "0001_0000.safetensors")[0] == 0
    after = (copy / "metrics.jsonl").read_bytes()
    assert after.startswith(before)
    added = [json.loads(line) for line in after[len(before):].splitlines()]
    assert [each["step"] for each in added] == [0, 1]
    assert all(name.endswith(" seed 2") for each in added for name in each if name.startswith("fid"))


def test_a_measured_run_goes_on_as_if_nobody_had_looked(copy, book_run, tmp_path, call, monkeypatch):
    """Resumed, it trains the same; a later checkpoint is measured, the others keep their numbers."""
    plain = shutil.copytree(book_run, tmp_path / "plain")
    for run in (plain, copy):
        train.main(["--output", str(run), "--resume", "--epoch", "3"])
    assert (plain / "checkpoints" / "0003_0000.safetensors").exists()
    steps, measured_steps = ([json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
                             for run in (plain, copy))
    assert [each for each in measured_steps if "evaluation" not in each] == steps
    before = Records(copy).evaluations()
    assert call("--run", copy, "--count", COUNT)[0] == 0
    after = Records(copy).evaluations()
    assert after[:3] == before
    assert [each["epoch"] for each in after] == [0, 1, 2, 3]


def test_what_a_training_deletes_meanwhile_is_passed_over(copy, monkeypatch):
    """Before its record is read, and between that and the drawing; a damaged checkpoint stays an error."""
    run, sample = Trained(copy), Trained.sample
    first, second = run.checkpoints

    def deleted(self, count, seed, path):
        path.unlink()
        return sample(self, count, seed, path)

    monkeypatch.setattr(Trained, "sample", deleted)
    first.write_bytes(first.read_bytes()[:5000])
    with monkeypatch.context() as patch, pytest.raises(UserError, match=f"{first.name} is no whole checkpoint"):
        patch.setattr(Trained, "real", None)  # noticed before the work begins
        Evaluation(run, run.features, COUNT, seed=2).measure([first, second])
    first.unlink()
    evaluation = Evaluation(run, run.features, COUNT, seed=2)
    evaluation.measure([first, second])
    assert list(evaluation.by_position()) == [(0, 0)]  # the untrained generator alone


def test_classes_are_recognised(digits_run, tmp_path, call, monkeypatch):
    """Real digits, passed off as generated, are what was asked for; with wrong labels they are not."""
    run = shutil.copytree(digits_run, tmp_path / "run")
    monkeypatch.setattr(Trained, "sample", lambda self, count, seed, path: self.real("train", count))
    monkeypatch.setattr(Trained, "untrained", lambda self, count, seed: (
        self.real("train", count)[0], (self.real("train", count)[1] + 1) % 10))
    code, out, _ = call("--run", run, "--count", COUNT)
    assert code == 0
    wrong, right = Records(run).evaluations()
    assert right[f"label agreement {protocol()}"] > 0.9
    assert wrong[f"label agreement {protocol()}"] < 0.1
    assert list(right[f"class recall {protocol()}"]) == list("0123456789")
    assert "label agreement" in out.splitlines()[1]
    assert "classes recognised: 0 " in out
    before = (run / "best.json").read_bytes()
    code, out, _ = call("--run", run, "--count", COUNT, "--fix", "sampling_dropout")
    assert code == 0 and "not marked, because generate.py draws without --fix" in out
    assert (run / "best.json").read_bytes() == before


def test_faces(faces_run, tmp_path, call):
    run = shutil.copytree(faces_run, tmp_path / "run")
    code, out, err = call("--run", run, "--count", 180)
    assert (code, err) == (0, "")
    assert out.startswith("faces, CelebA: hog-colour-176 180/180 train")
    assert [each["step"] for each in Records(run).evaluations()] == [0, 1]


def test_fewer_real_pictures_than_asked_for(faces_run):
    assert Evaluation(Trained(faces_run), HogColour(), 1000, seed=7).protocol == "hog-colour-176 1000/200 train seed 7"


def test_what_is_mended_is_in_the_name(digits_run):
    run = Trained(digits_run, fix=["generation_statistics", "sampling_dropout"])
    assert Evaluation(run, run.features, COUNT, 2).protocol == (
        f"{protocol()} seed 2 fix generation_statistics fix sampling_dropout")


# Mistakes


def test_too_few_pictures(copy, call, monkeypatch):
    monkeypatch.setattr(Trained, "sample", None)  # nothing is drawn before
    monkeypatch.setattr(Trained, "untrained", None)
    before = (copy / "metrics.jsonl").read_bytes()
    code, _, err = call("--run", copy, "--count", 128)
    assert (code, err.count("\n")) == (2, 1)
    assert "wants 129 pictures or more" in err
    assert (copy / "metrics.jsonl").read_bytes() == before


def test_bad_test_pictures_are_told_and_not_taken_for_none(copy, call, monkeypatch):
    real = Trained.real

    def bad(self, split, count=None):
        if split == "test":
            raise UserError("t10k is damaged; delete it")
        return real(self, split, count)

    monkeypatch.setattr(Trained, "real", bad)
    assert call("--run", copy, "--count", COUNT, "--seed", 5)[::2] == (2, "error: t10k is damaged; delete it\n")


@pytest.mark.parametrize(("args", "words"), [
    (["--checkpoint", "0009_0000.safetensors"], ["none of the checkpoints", "0001_0000.safetensors, 0002_0000"]),
    (["--inception", "missing.onnx"], ["--inception", "no file missing.onnx"]),
    (["--count", "0"], ["--count", "'0'"]),
    (["--run", "nothing"], ["nothing", "no run"]),
    (["--fix", "sampling_dropout"], ["--fix sampling_dropout", "book has no oddity"]),
    (["--fix", "max_pool"], ["--fix max_pool", "drawing alone"]),
])
def test_refusals(copy, call, args, words):
    before = (copy / "metrics.jsonl").read_bytes()
    code, out, err = call("--run", copy, *args)
    assert (code, err.count("\n"), out) == (2, 1, ""), err
    assert all(word in err for word in words), err
    assert (copy / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(("value", "count", "text"), [
    (8612.3, 3, "8610"), (0.991, 4, "0.9910"), (497.0, 3, "497"), (-0.00575, 2, "-0.0057"), (0.0, 2, "0.0")])
def test_numbers_have_no_exponent(value, count, text):
    assert digits(value, count) == text
