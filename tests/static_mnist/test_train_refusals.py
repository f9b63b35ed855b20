"""The training command refuses in one line what it cannot do, and no run is lost by it."""

import sys

import paddle
import pytest

from common.training import checkpoint
from tests.helpers import content
from tests.static_mnist.narrow_runs import BATCH, EPOCHS, newest, result, write_pictures


@pytest.mark.parametrize(("args", "words"), [
    (["--batch_size", "0"], ["--batch_size", "'0' is not a whole number from 1"]),
    (["--fix", "everything"], ["--fix", "everything", "double_sigmoid", "max_pool"]),
    (["--dataset", "cats"], ["--dataset", "cats", "mnist"]),
    (["--use_cudnn"], ["--use_cudnn", "--use_gpu"]),
    (["--batch_size", "41"], ["--batch_size 41", "pictures: 40 of", "smaller"]),
    (["--output", "file"], ["file", "choose another --output"]),
    (["--resume", "--output", "nothing"], ["--resume", "no run in nothing", "leave the flag out"]),
    (["--data_dir", "file"], ["file is a file", "name the folder"]),
])
def test_bad_options(refused, place, tmp_path, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    refused("--data_dir", place.data, "--batch_size", BATCH, *args, words=words)
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="this Paddle has CUDA")
def test_a_gpu_that_paddle_cannot_use(refused, place, tmp_path):
    refused(*place.training(tmp_path / "run", "--use_gpu"), words=["--use_gpu", "without CUDA", "leave the flag out"])
    assert not (tmp_path / "run").exists()


def test_bad_checkpoints(refused, call, run):
    path, expected = newest(run), result(run)
    arrays, record = checkpoint.load(path)
    other = {**record, "config": {**record["config"], "recipe": "note6"}}
    for spoiled, words in [
        (({**arrays, "fc1w": arrays["fc1w"][:8]}, record), ["fc1w", "another network", "move it away to go on from"]),
        ((arrays, other), ["recipe note6", "not of book"]),
        (None, ["no whole checkpoint", f"move it away to go on from {EPOCHS - 1:04d}_0000"]),
    ]:
        if spoiled:
            checkpoint.save(path.parent, EPOCHS, 0, *spoiled)
        else:
            path.write_bytes(path.read_bytes()[:-1000])
        before = content(run)
        refused("--resume", "--output", run, "--epoch", EPOCHS + 1, words=[path.name, *words])
        assert content(run) == before
    path.unlink()  # as the message says
    code, _, err = call("--resume", "--output", run)
    assert code == 0, err
    assert result(run) == expected  # trained once more


def test_a_run_is_never_lost_by_a_wrong_command(refused, call, place, run, tmp_path):
    """Each is refused and changes nothing."""
    before = content(run)
    write_pictures(tmp_path / "others", seed=1)
    refused(*place.training(run), words=["holds a run already", "--resume", "--overwrite", "--output"])
    refused("--resume", "--output", run, "--data_dir", tmp_path / "others", words=["these pictures are others"])
    refused("--resume", "--output", run, "--dataset", "digits", words=["dataset auto", "not digits"])
    refused("--resume", "--output", run, "--recipe", "note6", words=["of the recipe book, not note6; --recipe book"])
    refused("--resume", "--output", run, "--fix", "all", words=["--resume", "fix", "leave --fix out"])
    refused("--resume", "--output", run, "--enable_ce", words=["--resume", "enable_ce"])
    if not paddle.is_compiled_with_cuda():
        refused("--resume", "--output", run, "--use_gpu", words=["use_gpu"])
        refused(*place.training(run, "--overwrite", "--use_gpu"), words=["--use_gpu"])
    refused(*place.training(run, "--overwrite", "--batch_size", 41), words=["--batch_size 41"])
    refused(*place.training(run, "--overwrite", "--dataset", "mnist", "--data_dir", tmp_path / "nothing",
                            "--no_download"), words=["MNIST is not in"])
    (run / "config.json").write_text("{")
    refused("--resume", "--output", run, words=["config.json cannot be read", "restore it", "another --output"])
    (run / "config.json").write_bytes(before[run / "config.json"])
    assert content(run) == before


def test_visualdl_that_is_missing_costs_no_run(refused, place, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "visualdl", None)
    before = content(run)
    refused(*place.training(run, "--overwrite", "--visualdl"), words=["--visualdl", "pip install visualdl"])
    assert content(run) == before
