"""tools/compare.py as a user types it: what it writes and prints, and its one line for what is wrong."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common import plotting
from common.comparison import chance, figures
from common.comparison import compare as comparison
from tests.helpers import caller
from tools import compare

TOOL = Path(compare.__file__)


def blots(count, seed, side=28):
    """[n, side, side] in [-1, 1]: bright blots on black, a little like digits."""
    small = np.random.RandomState(seed).randint(0, 256, [count, 5, 5]).astype("uint8")
    pictures = np.full([count, side, side], -1, "float32")
    inner = side - 8
    for number, each in enumerate(small):
        blot = np.asarray(Image.fromarray(each).resize((inner, inner), Image.BICUBIC))
        pictures[number, 4:-4, 4:-4] = blot / 127.5 - 1
    return pictures


def figure(path, pictures):
    """The tutorial's figure as matplotlib draws it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plotting.save_tutorial_grid(path, pictures, "Epoch ID=19 Batch ID=460 D-Loss=1.15858 DG-Loss=0.66682\n ")
    return path


@pytest.fixture
def run(book_run, tmp_path):
    """A copy of a run that is two iterations old, with narrow networks."""
    return shutil.copytree(book_run, tmp_path / "run")


@pytest.fixture
def call(capsys, monkeypatch):
    """The command in this process: exit code, stdout, stderr."""
    monkeypatch.setattr(chance, "RESAMPLES", 200)

    return caller(compare.main, capsys)


def refused(result, *reasons):
    code, out, err = result
    assert code == 2 and err.count("\n") == 1 and err.startswith("error: "), result
    for reason in reasons:
        assert reason in err


def test_a_run_beside_its_tutorials_figure(run, call, tmp_path):
    demo = figure(tmp_path / "dcgan_demo.png", blots(256, 0))
    config = json.loads((run / "config.json").read_text())
    config["dataset"]["name"], config["options"]["batch_size"] = "MNIST", 128  # whose losses are published
    (run / "config.json").write_text(json.dumps(config))
    code, out, err = call("--run", run, "--reference", demo)
    assert code == 0 and err == ""
    rows = {row["name"].partition(" (")[0]: row for row in json.loads((run / "comparison.json").read_text())}
    for name in ("sharpness", "contrast", "confidence", "share of pictures with a twin", "D-Loss of one batch",
                 "distance to the nearest training picture", "KID to 1000 real pictures"):
        assert name in rows and name in out and rows[name]["verdict"] in out
    assert rows["contrast"]["verdict"] == "differs"  # two iterations do not make a picture
    assert rows["contrast"]["tutorial"] > 5 * rows["contrast"]["ours"]
    assert rows["D-Loss of one batch"]["tutorial"] == 1.1586
    assert "epoch 1, batch 0" in rows["D-Loss of one batch"]["note"]
    assert sum(map(int, rows["pictures a class, 0 1 2 3 4 5 6 7 8 9"]["ours"].split())) == 128
    with Image.open(run / "comparison.png") as image:
        width, height = image.size
    assert width > 3 * height  # four panels
    assert out.startswith("ours: 2 iterations on MNIST, 2 of the tutorial's 20 epochs complete\n")
    assert "Beside the tutorial" in (run / "report.html").read_text()  # it was written again

    call("--run", run, "--reference", demo, "--output", tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "comparison.json").read_bytes() == (run / "comparison.json").read_bytes()


def test_a_checkpoint_that_a_training_deletes_meanwhile_is_compared(run, call, tmp_path, monkeypatch):
    save = comparison.save

    def later(*args):
        for path in (run / "checkpoints").iterdir():
            path.unlink()
        return save(*args)

    monkeypatch.setattr(comparison, "save", later)
    code, out, err = call("--run", run, "--reference", figure(tmp_path / "dcgan_demo.png", blots(256, 0)))
    assert code == 0 and out.startswith("ours: 2 iterations on "), err


def test_without_its_data_a_run_is_compared_all_the_same(run, call, tmp_path):
    config = json.loads((run / "config.json").read_text())
    config["dataset"]["checksum"] = "of pictures that are gone"
    (run / "config.json").write_text(json.dumps(config))
    code, out, err = call("--run", run, "--reference", figure(tmp_path / "dcgan_demo.png", blots(256, 0)))
    assert code == 0 and err.startswith("note: compared without real pictures: ") and err.count("\n") == 1
    assert "nearest training" not in out and "KID to 128 real pictures" in out  # those that the tutorial shows


def test_the_tutorials_figure_is_downloaded_when_none_is_named(run, call, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(figures.download, "__defaults__", (tmp_path / "cache",))
    served = figure(tmp_path / "dcgan_demo.png", blots(256, 0))

    def fetch(name, mirrors, folder, md5, limit):
        folder.mkdir(parents=True)
        shutil.copy(served, folder / name)
        return mirrors[0]

    monkeypatch.setattr(figures, "fetch", fetch)
    assert call("--run", run)[0] == 0

    def gone(*_):
        raise figures.Unavailable("raw.githubusercontent.com: no answer within 4 seconds")

    monkeypatch.setattr(figures, "fetch", gone)
    assert call("--run", run)[0] == 0  # it is there now
    shutil.rmtree(tmp_path / "cache")
    assert (run / "comparison.png").exists()  # of the comparison above; the report would show it
    code, out, err = call("--run", run)
    assert (code, err.count("\n")) == (0, 1) and err.startswith("note: compared with known numbers alone: ")
    for words in "dcgan_demo.png", "cannot be downloaded", "no answer", "--reference":
        assert words in err
    rows = {row["name"]: row for row in json.loads((run / "comparison.json").read_text())}
    assert list(rows) == ["sharpness", "contrast", "brightness", "confidence"]
    assert all(f"{row['ours']:.4g}" in out and row["interval"] is None for row in rows.values())
    assert (rows["contrast"]["tutorial"], rows["contrast"]["tutorial_real"]) == (81.34, 78.48)
    assert rows["contrast"]["ours"] < 20  # two iterations do not make a picture
    assert "Verdict: none, for no row could be tested." in out
    assert not (run / "comparison.png").exists()
    config = json.loads((run / "config.json").read_text())
    config["dataset"]["name"], config["options"]["batch_size"] = "MNIST", 128  # whose losses are published
    config["options"]["classes"] = ["all"]
    (run / "config.json").write_text(json.dumps(config))
    code, out, _ = call("--run", run)
    assert code == 0 and "contrast" in out and "DG-Loss of one batch" in out
    assert "Verdict: none, for no row could be tested." in out  # nor two batches of losses
    config["options"]["dataset"], config["dataset"]["fallback"] = "fashion", False
    (run / "config.json").write_text(json.dumps(config))
    refused(call("--run", run), "has learnt other pictures than its tutorial shows")


def test_any_pictures_beside_any_others(call, tmp_path):
    plotting.save_png(tmp_path / "grid.png", plotting.grid(blots(20, 0, 40)))
    (tmp_path / "single").mkdir()
    for number, picture in enumerate(blots(12, 1)):
        plotting.save_png(tmp_path / "single" / f"{number}.png", picture)
    code, out, err = call("--ours", tmp_path / "single", "--reference", tmp_path / "grid.png", "--rows", 4, "--cols", 5,
                          "--output", tmp_path / "out")
    assert code == 0 and "confidence (mnist-cnn" in out and "KID of ours to the tutorial's (mnist-cnn" in out
    assert (tmp_path / "out" / "comparison.png").is_file()

    for name in "comparison.json", "comparison.png":  # of another program
        other = tmp_path / f"with {name}"
        other.mkdir()
        (other / name).write_text("mine")
        refused(call("--ours", tmp_path / "single", "--reference", tmp_path / "grid.png", "--output", other),
                f"{name} is there", "choose another --output")
        assert (other / name).read_text() == "mine"

    colours = np.random.RandomState(0).uniform(-1, 1, [30, 12, 12, 3])
    plotting.save_png(tmp_path / "colours.png", plotting.grid(colours, pad=2))
    code, out, err = call("--ours", tmp_path / "colours.png", "--reference", tmp_path / "colours.png",
                          "--output", tmp_path / "out")
    assert code == 0 and "confidence" not in out and "    differs (" not in out


def test_what_is_wrong_with_a_run(run, call, tmp_path):
    demo = figure(tmp_path / "dcgan_demo.png", blots(256, 0))
    (tmp_path / "empty").mkdir()
    refused(call("--run", tmp_path / "none", "--reference", demo), "there is no run")
    refused(call("--run", tmp_path / "empty", "--reference", demo), "there is no run")
    refused(call("--run", demo, "--reference", demo), "there is no run")
    refused(call("--run", run, "--reference", demo, "--checkpoint", tmp_path / "none.safetensors"), "none.safetensors")
    older, checkpoint = sorted((run / "checkpoints").glob("*.safetensors"))
    older.unlink()
    assert call("--run", run, "--reference", demo, "--checkpoint", checkpoint.name)[0] == 0
    other = shutil.copy(checkpoint, tmp_path / checkpoint.name)  # whole, and of the same recipe
    refused(call("--run", run, "--reference", demo, "--checkpoint", other), "none of the checkpoints", checkpoint.name)
    config = json.loads((run / "config.json").read_text())
    config["dataset"]["name"], config["options"]["batch_size"] = "MNIST", 128  # whose losses are published
    (run / "config.json").write_text(json.dumps(config))
    (run / "metrics.jsonl").write_text('{"step": 1}\n')
    refused(call("--run", run, "--reference", demo), "metrics.jsonl is not as a run writes it")
    (run / "metrics.jsonl").unlink()
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    refused(call("--run", run, "--reference", demo), checkpoint.name)
    checkpoint.unlink()
    refused(call("--run", run, "--reference", demo), "has no checkpoint")
    refused(call("--reference", demo, "--run", run, "--ours", demo), "--ours takes the place of a run")
    refused(call("--ours", demo), "--ours wants --reference")


def test_what_is_wrong_with_a_figure(call, tmp_path, monkeypatch):
    (tmp_path / "text.png").write_text("no picture")
    plotting.save_png(tmp_path / "photo.png", blots(1, 0, 200)[0])
    real = np.tile(blots(100, 0)[..., None], 3)
    plotting.save_png(tmp_path / "face_image1.jpeg", plotting.tile(real, 10, 10, 4, 1.0))
    plotting.save_png(tmp_path / "grid.png", plotting.grid(blots(16, 0)))
    for name, reason in (("text.png", "no picture"), ("none.png", "there is no picture"),
                         ("photo.png", "cannot be cut"), ("face_image1.jpeg", "real pictures only"),
                         ("no/folder", "there is no picture and no folder")):
        refused(call("--ours", tmp_path / "grid.png", "--reference", tmp_path / name), reason)
        if name != "face_image1.jpeg":
            refused(call("--ours", tmp_path / name, "--reference", tmp_path / "grid.png"), reason)
    refused(call("--ours", tmp_path / "grid.png", "--reference", tmp_path / "grid.png", "--rows", 5), "not 5×4")
    monkeypatch.setattr(figures, "MOST_PIXELS", 10_000)
    refused(call("--ours", tmp_path / "grid.png", "--reference", tmp_path / "grid.png"), "10000 are the most")
