"""The conditional GAN's command on a folder of pictures: its files, its options and data, stopped and resumed."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from common.errors import ROOT, UserError, run_command
from common.training import checkpoint, options
from static_mnist import train
from tests.helpers import moved


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder of two classes of 4×4 pictures in colour, seven in all: two batches of four, the second short."""
    folder = tmp_path_factory.mktemp("data") / "beads"
    random = np.random.RandomState(0)
    for number in range(7):
        path = folder / ("blue" if number < 5 else "red") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.randint(0, 256, [4, 4, 3]).astype("uint8")).save(path)
    return folder


def arguments(own, *more):
    return ["--recipe", "cgan", "--dataset", str(own), "--batch_size", "4", "--epoch", "4", *more]


@pytest.fixture(scope="module")
def whole(own, tmp_path_factory):
    """A run that was never stopped, and what it printed: four epochs of two steps."""
    run, printed = tmp_path_factory.mktemp("whole") / "run", io.StringIO()
    with contextlib.redirect_stdout(printed):
        train.main([*arguments(own), "--output", str(run)])
    yield run, printed.getvalue()
    shutil.rmtree(run)  # some hundred MB of checkpoints


def test_a_run_leaves_the_chapters_files(own, whole):
    run, printed = whole
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for epoch, line in enumerate(lines[1::2], 1):
        assert (f"Epoch {epoch}/4 step {2 * epoch}... Discriminator Loss: {line['Discriminator Loss']:.3f}... "
                f"Generator Loss: {line['Generator Loss']:.3f}\n") in printed
    assert {path.name for path in run.glob("*.png")} == {
        *(f"000{epoch}_0001.png" for epoch in range(4)), "losses.png", "real_samples.png"}
    real = np.asarray(Image.open(run / "real_samples.png"))  # five rows, blue and red, under their names
    real = real[len(real) - 5 * 5 * 24::24, ::24]
    assert real.shape == (5 * 5, 2 * 5, 3)
    np.testing.assert_array_equal(real[1:5, 1:5], np.asarray(Image.open(own / "blue" / "0.png")))
    np.testing.assert_array_equal(real[1:5, 6:], np.asarray(Image.open(own / "red" / "5.png")))
    width, height = Image.open(run / "constant_noise" / "0000_0001.png").size  # blue and red again, under their names
    assert width == 24 * 10 and height > 24 * 25


# The command, which sends itself a signal in its third step
COMMAND = """
import os, runpy, signal, sys
from common.training.run_folder import RunFolder
write, steps = RunFolder.write_metrics, []
def signalled(self, **line):
    steps.append(line)
    if len(steps) == 3:
        os.kill(os.getpid(), signal.SIGINT)
    write(self, **line)
RunFolder.write_metrics = signalled
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_stopped_and_resumed_the_run_is_the_same(own, whole, tmp_path):
    """The real command in a process of its own, from another folder."""
    run = tmp_path / "run"
    done = subprocess.run([sys.executable, "-c", COMMAND, train.__file__, *arguments(own), "--output", "run"],
                          cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    note, last = [line for line in done.stderr.splitlines() if line and "fast CPU operators" not in line]
    assert note.startswith("SIGINT: saving")
    assert "stopped by SIGINT" in last and "--resume" in last
    assert (run / "metrics.jsonl").read_bytes().count(b"\n") == 3

    train.main(["--resume", "--output", str(run)])  # knows its recipe and all its options
    for pattern in ("*.png", "constant_noise/*.png", "metrics.jsonl"):
        for file in whole[0].glob(pattern):
            assert file.read_bytes() == (run / file.relative_to(whole[0])).read_bytes(), file
    (arrays, record), (again, record_again) = (
        checkpoint.load(checkpoint.listing(folder / "checkpoints")[-1]) for folder in (whole[0], run))
    assert record["random"] == record_again["random"]
    assert set(arrays) == set(again) and not moved(arrays, again)
    shutil.rmtree(run)


@pytest.fixture
def batches(monkeypatch):
    """The data that the command would train on."""
    seen = []
    monkeypatch.setattr("common.training.run.train",
                        lambda recipe, args, _: seen.append(recipe.open_data(vars(args))[0]))
    return lambda argv: (train.main(argv), seen.pop())[1]


def test_one_shuffle_for_ever(own, batches):
    data = batches(arguments(own))
    assert sorted(data.order(0)) == list(range(7)) != list(data.order(0))
    np.testing.assert_array_equal(data.order(0), data.order(1))
    images, labels = list(data.epoch(0))[1]
    assert (images.shape, labels.shape) == ((3, 48), (3,))  # the short last batch is kept
    assert set(labels) <= {0, 1}
    mended = batches(arguments(own, "--fix", "one_shuffle"))
    assert any(not np.array_equal(mended.order(0), mended.order(epoch)) for epoch in (1, 2))


def test_defaults_are_the_chapters():
    for dataset, epoch in (("mnist", 16), ("auto", 16), ("fashion", 64), ("emnist", 32), ("some/folder", 16)):
        args = options.read("static_mnist", ["--recipe", "cgan", "--dataset", dataset])[1]
        assert (args.epoch, args.batch_size, args.fix) == (epoch, 32, [])


def test_a_bad_folder_is_refused_in_one_line(own, tmp_path, capsys):
    copy = shutil.copytree(own, tmp_path / "copy")
    shutil.rmtree(copy / "red")
    code = run_command(lambda: train.main([*arguments(copy), "--output", str(tmp_path / "run")]))
    [line] = capsys.readouterr().err.splitlines()
    assert code == 2 and "one class, blue" in line
    assert not (tmp_path / "run").exists()


def test_resize(own, tmp_path, batches, capsys):
    copy = shutil.copytree(own, tmp_path / "copy")
    Image.new("RGB", (8, 4)).save(copy / "red" / "x.png")
    assert batches(arguments(copy, "--resize", "12")).images.shape == (8, 12, 12, 3)
    assert batches(arguments(copy, "--resize")).images.shape == (8, 28, 28, 3)
    assert run_command(lambda: train.main(["--recipe", "cgan", "--dataset", "digits", "--resize"])) == 2
    assert "--resize is for a folder" in capsys.readouterr().err
    assert run_command(lambda: train.main([*arguments(copy), "--data_dir", str(copy)])) == 2
    assert "--data_dir goes with --dataset auto" in capsys.readouterr().err


def test_a_folder_may_have_moved(own, tmp_path, batches):
    folder, elsewhere = tmp_path / "run", shutil.copytree(own, tmp_path / "moved")
    args = vars(options.read("static_mnist", arguments(tmp_path / "gone"))[1])
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(
        {"recipe": "cgan", "options": args, "dataset": {}, "versions": {}, "machine": {}}, default=str))
    assert len(batches(["--resume", "--output", str(folder), "--data_dir", str(elsewhere)]).images) == 7
    with pytest.raises(UserError, match="not in .*gone any more; --data_dir names the place"):
        batches(["--resume", "--output", str(folder)])


def test_a_home_that_does_not_exist_is_one_line(capsys):
    assert run_command(lambda: train.main(["--recipe", "cgan", "--dataset", "~nobody-of-that-name/x"])) == 2
    assert "there is no data set and no folder" in capsys.readouterr().err


def test_a_folder_is_kept_whole_so_that_a_run_goes_on_from_anywhere(own, monkeypatch):
    monkeypatch.chdir(own.parent)
    assert options.read("static_mnist", arguments(own.name))[1].dataset == str(own)
