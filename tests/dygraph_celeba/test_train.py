"""The commands of the dynamic recipe, from options to pictures."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from common import generator, plotting
from common.errors import ROOT, UserError, run_command
from common.pictures import build_packed, packed
from common.training import checkpoint, options
from common.training.run_folder import RunFolder
from dygraph_celeba import data, generate, train
from dygraph_celeba.gan import FaceGAN
from tests import helpers
from tests.helpers import content, jpeg

pytestmark = pytest.mark.usefixtures("narrow_faces")

CURVES = "Generator and Discriminator Loss During Training.png"


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A folder of 14 cropped pictures: three batches of four, and two over."""
    return helpers.faces(tmp_path_factory.mktemp("celeba") / "imgs", 14, ".jpg")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home folder, which is the current one too."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(data, "VARIANTS", 1)
    return folder


def arguments(faces, output, *more):
    return ["--data_dir", str(faces), "--batch_size", "4", "--output", str(output), *more]


@pytest.fixture(scope="module")
def run(faces, narrow_faces, tmp_path_factory):
    """A finished run of three epochs of three batches."""
    output = tmp_path_factory.mktemp("run") / "Output"
    train.main(arguments(faces, output, "--epoch", "3"))
    return output


def test_a_run_leaves_the_tutorials_records(run):
    files = {path.name for path in run.iterdir()}
    assert {"0000_0000.png", "0002_0000.png", CURVES, "generator.safetensors", "animation.gif"} <= files
    assert "0000_0001.png" not in files and "losses.png" not in files
    assert len(list((run / "constant_noise").iterdir())) == 3
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["batch"]) for line in metrics] == [(e, b) for e in range(3) for b in range(3)]
    assert set(metrics[0]) == {"step", "epoch", "batch", "D-Loss", "G-Loss", "D-Loss real", "D-Loss fake"}


def test_the_generators_weights_are_those_of_the_last_checkpoint(run):
    arrays, _ = checkpoint.load(checkpoint.listing(run / "checkpoints")[-1])
    for name, array in load_file(run / "generator.safetensors").items():
        np.testing.assert_array_equal(array, arrays[f"G.{name}"])


def test_the_loss_curves_have_the_tutorials_title():
    curves = FaceGAN.curves
    assert (curves.file, curves.title, curves.xlabel) == (CURVES, CURVES.removesuffix(".png"), "Number of Batch")
    assert curves.labels == ("D Loss", "G Loss")


def group_is_gone(group):
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


KILLED = """
import os, signal, sys
from common.backend import runtime
runtime.prepare()
from dygraph_celeba import train
from dygraph_celeba.gan import FaceGAN
from tests.helpers import narrowed_faces
step, steps = FaceGAN.step, iter(range(9))

def until_the_sixth(*args):
    if next(steps) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*args)

FaceGAN.step = until_the_sixth
with narrowed_faces():
    train.main(sys.argv[1:])
"""


def test_a_killed_run_goes_on_to_the_bit_and_leaves_no_process(faces, run, tmp_path):
    """By the tutorial's reader, which has worker processes; the run that it is compared with took the packed one."""
    output = tmp_path / "Output"
    with open(tmp_path / "stderr", "wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, *arguments(faces, output, "--reader", "skimage", "--epoch", "100")],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True)
    try:
        code = process.wait(300)
    finally:
        process.kill()
    assert code == -signal.SIGKILL, (tmp_path / "stderr").read_text()
    assert group_is_gone(process.pid)
    assert "Traceback" not in (tmp_path / "stderr").read_text()
    assert (output / "metrics.jsonl").read_bytes().count(b"\n") == 5

    # in this process: parameters get other names than in the first
    train.main(arguments(faces, output, "--resume", "--epoch", "3"))
    assert (output / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    ours, _ = checkpoint.load(checkpoint.listing(output / "checkpoints")[-1])
    theirs, _ = checkpoint.load(checkpoint.listing(run / "checkpoints")[-1])
    assert set(ours) == set(theirs)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert (output / "0002_0000.png").read_bytes() == (run / "0002_0000.png").read_bytes()


def test_train_and_generate_in_one_process_without_celeba(home, capsys, monkeypatch):
    titles = []
    with monkeypatch.context() as patch:
        patch.setattr(plotting, "save_figure", lambda path, picture, title, **more: titles.append(title))
        patch.setattr(plotting, "save_losses", lambda path, curves, title, xlabel: titles.append(title))
        train.main(["--batch_size", "8", "--max_steps", "1", "--output", "run"])
    assert len(titles) == 2 and all("not CelebA" in title for title in titles)
    assert "NOT CELEBA" in capsys.readouterr().err
    recorded = json.loads(Path("run/config.json").read_text())["dataset"]
    assert recorded["fallback"] and recorded["name"] == "embedded faces" and "not CelebA" in recorded["note"]
    Path("work/imgs").mkdir(parents=True)
    Path("work/imgs/000001.jpg").write_bytes(jpeg(1))  # there by now: the run still goes on with its own data
    train.main(["--resume", "--max_steps", "2", "--output", "run"])
    assert json.loads(Path("run/config.json").read_text())["dataset"] == recorded
    generate.main(["--run", "run", "--count", "3", "--output", "out"])
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "generated.npy", "generated_1.png", "generated_2.png", "generated_3.png", "grid.png"]


def generated(run, output, *more):
    generate.main(["--run", str(run), "--output", str(output), *more])
    return np.load(output / "generated.npy")


def test_generated_pictures_are_normalised_a_hundred_at_a_time(run, tmp_path, monkeypatch):
    sizes = []
    original = FaceGAN.sample_in_training
    monkeypatch.setattr(FaceGAN, "sample_in_training",
                        lambda self, noise: sizes.append(len(noise)) or original(self, noise))
    three = generated(run, tmp_path / "a", "--count", "3")
    many = generated(run, tmp_path / "b", "--count", "100")
    assert sizes == [100, 100] and three.shape == (3, 64, 64, 3)
    np.testing.assert_array_equal(many[:3], three)
    with Image.open(tmp_path / "a" / "generated_2.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), plotting.to_uint8(three[1]))


def test_generate_refuses_another_recipes_run(tmp_path, run, monkeypatch):
    monkeypatch.setattr(generator, "read_run", lambda *_: ({"recipe": "book"}, {}))
    with pytest.raises(UserError, match="recipe book, which is for static_mnist/generate.py"):
        generate.main(["--run", str(run), "--output", str(tmp_path / "out")])


def test_a_run_from_before_the_recipe_was_called_faces_goes_on(run, tmp_path):
    old = shutil.copytree(run, tmp_path / "old")
    config = (old / "config.json").read_text()
    (old / "config.json").write_text(config.replace('"recipe": "faces"', '"recipe": "dcgan_face"'))
    *_, path, newest = checkpoint.listing(old / "checkpoints")
    newest.unlink()  # the first step of its last epoch is made once more
    arrays, record = checkpoint.load(path)
    record["config"]["recipe"] = "dcgan_face"
    checkpoint.save(path.parent, *map(int, path.stem.split("_")), arrays, record)
    generator.load(old, package="dygraph_celeba")  # as generate.py does
    train.main(["--resume", "--max_steps", "7", "--output", str(old)])
    both = [(each / "metrics.jsonl").read_bytes().splitlines() for each in (old, run)]
    assert len(both[0]) == 7 and both[0] == both[1][:7]


BAD = {
    "no CelebA": (["--dataset", "celeba"], "mmlab.ie.cuhk.edu.hk"),
    "no such folder": (["--data_dir", "nowhere"], "nowhere"),
    "an empty folder": (["--data_dir", "empty"], "holds no pictures"),
    "not a zip archive": (["--data_dir", "bad.zip"], "not a zip or tar archive"),
    "too few pictures": (["--data_dir", "FACES", "--batch_size", "15"],
                         "--batch_size 15 is more than there are pictures: 14 of"),
    "embedded faces from a folder": (["--dataset", "faces", "--data_dir", "FACES"], "exclude each other"),
    "a run's pictures are gone": (["--resume", "--output", "RUN", "--data_dir", "nowhere"], "nowhere any more"),
    "other pictures than the run's": (["--resume", "--output", "RUN", "--data_dir", "OTHER"], "are others"),
    "a GPU that is not there": (["--use_gpu"], "--use_gpu"),
    "the tutorial's reader and an archive": (["--reader", "skimage", "--data_dir", "bad.zip"], "crop_celeba.py"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_code_2(case, home, faces, run, capsys):
    import paddle

    if case.startswith("a GPU") and paddle.is_compiled_with_cuda():
        pytest.skip("there may be one")
    (home / "empty").mkdir()
    (home / "bad.zip").write_bytes(b"no archive")
    (home / "other").mkdir()
    for number in range(4):
        Image.new("RGB", (64, 64)).save(home / "other" / f"{number}.png")
    typed, expected = BAD[case]
    places = {"FACES": faces, "RUN": run, "OTHER": home / "other"}
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    code = run_command(lambda: train.main([str(places.get(word, word)) for word in typed]))
    last = capsys.readouterr().err.splitlines()
    assert code == 2
    assert expected in last[-1] and last[-1].startswith("error: ")
    assert sum(line.startswith("error") for line in last) == 1
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_overwrite_takes_away_what_the_last_run_left(faces, run, tmp_path):
    output = shutil.copytree(run, tmp_path / "run")
    (output / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="--batch_size 1000 is more than"):
        train.main(arguments(faces, output, "--overwrite", "--epoch", "1", "--batch_size", "1000"))
    assert (output / "generator.safetensors").exists()
    RunFolder(output, overwrite=True).close()
    left = {path.name for path in output.iterdir() if path.is_file()}
    assert left == {".lock", "mine.txt"}


def test_defaults_are_the_tutorials():
    _, args = options.read("dygraph_celeba", [])
    assert (args.epoch, args.batch_size, args.output) == (5, 128, Path("work/Output"))
    assert (args.fix, args.dataset, args.reader, args.data_dir) == ([], "auto", "packed", None)


def test_the_fix_epochs_is_the_proses_eight_unless_told_otherwise():
    for typed, epoch in ((["--fix", "epochs"], 8), (["--fix", "all"], 8), (["--fix", "all", "--epoch", "20"], 20)):
        assert options.read("dygraph_celeba", typed)[1].epoch == epoch


@pytest.fixture
def no_steps(monkeypatch):
    """Steps and pictures cost nothing: what a dry run reads and tells is looked at."""
    def write(_gan, path, *_):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(9))

    monkeypatch.setattr(FaceGAN, "step", lambda self, batch, random: dict.fromkeys(FaceGAN.losses, 0.5))
    for name in ("draw", "save_frame"):
        monkeypatch.setattr(FaceGAN, name, write)


@pytest.mark.usefixtures("no_steps")
@pytest.mark.parametrize("source", ["folder", "zip", "tar.gz", "packed", "none"])
def test_a_dry_run_packs_nothing_and_decodes_what_it_needs(faces, home, capfd, monkeypatch, source):
    whole = home.parent / "whole"
    shutil.copytree(faces, whole)
    (whole / "000002.jpg").write_bytes(b"no picture")
    for number in range(14, 60):
        shutil.copy(faces / "000000.jpg", whole / f"{number:06d}.jpg")
    place = {"folder": whole, "packed": whole, "none": None}.get(source)
    if place is None and source != "none":
        place = Path(shutil.make_archive(str(home.parent / "whole"), {"zip": "zip", "tar.gz": "gztar"}[source], whole))
    if source == "packed":
        packed.open_packed(whole, progress=False)
    before, read = content(home.parent), []
    decode = build_packed.read_image
    monkeypatch.setattr(build_packed, "read_image", lambda data, span: read.append(data) or decode(data, span))
    named = ["--data_dir", str(place)] if place else []
    capfd.readouterr()
    assert run_command(lambda: train.main([*named, "--batch_size", "4", "--output", "run", "--dry_run"])) == 0
    out, err = capfd.readouterr()
    pictures = {"none": 100, "packed": 59}.get(source, 60)
    batches = pictures // 4
    assert "D: 44,640 trained parameters" in out and f"{batches} batches an epoch, {5 * batches} iterations" in out
    assert "time: about" in out and "room: about" in out
    if source == "packed":
        assert "the packed pictures" not in out and not read
    else:
        assert f"room: {pictures * 12288 / 1e6:.1f} MB in {home}/.cache/paddle/dataset/celeba/" in out
        assert 12 <= len(read) <= 14  # three batches of four, and the bad picture
    assert content(home.parent) == before and "unpacking" not in err


@pytest.mark.usefixtures("no_steps")
def test_a_dry_run_with_the_tutorials_reader(home, capfd):
    assert run_command(lambda: train.main(["--reader", "skimage", "--batch_size", "4", "--dry_run"])) == 0
    out, _ = capfd.readouterr()
    assert "time: about" in out and "nan" not in out and "the packed pictures" not in out


def test_a_run_does_not_go_into_the_folder_of_its_pictures(faces, home, capfd):
    own = shutil.copytree(faces, home / "own")
    before = content(own)
    for flags in [], ["--overwrite"]:
        assert run_command(lambda more=flags: train.main(arguments(own, "own", "--max_steps", "1", *more))) == 2
        assert capfd.readouterr().err.splitlines()[-1] == \
            "error: own holds the pictures to train on; choose another --output"
    assert content(own) == before


def test_a_dry_run_of_bad_pictures_alone_is_one_line(home, capfd):
    (home / "bad").mkdir()
    for number in range(5):
        (home / "bad" / f"{number}.jpg").write_bytes(b"no picture")
    assert run_command(lambda: train.main(["--data_dir", "bad", "--batch_size", "4", "--dry_run"])) == 2
    assert "bad can be used; the reason of one: not a picture" in capfd.readouterr().err.splitlines()[-1]
