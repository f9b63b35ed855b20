"""tools/pack_generator.py on tiny runs: what is in a file, and what the commands draw from it."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from common import load, plotting, pretrained
from common.errors import run_command
from common.evaluation.scores import Evaluation, digits
from common.evaluation.trained import Trained
from common.report import cards
from common.training import checkpoint
from common.training.records import Records
from dygraph_celeba import generate as faces_generate
from static_mnist import generate as static_generate
from tests.helpers import caller, content
from tools import gallery, pack_generator

COUNT = 140


@pytest.fixture(scope="module")
def weights(tmp_path_factory, book_run, folder_run, faces_run):
    """A folder with three packed generators; the book's largest array has six bits a number."""
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained, "WEIGHTS", folder)
        patch.setattr(pretrained, "LARGE", 20_000)
        for name, run in (("book", book_run), ("cgan-folder", folder_run), ("faces", faces_run)):
            before = content(run)
            assert run_command(lambda name=name, run=run: pack_generator.main(
                ["--run", str(run), "--name", name, "--count", str(COUNT)])) == 0
            assert content(run) == before
        yield folder


@pytest.fixture
def call(capsys):
    return caller(pack_generator.main, capsys)


def record_of(weights, name):
    return pretrained.read(weights / f"{name}.safetensors")[2]


def test_only_the_generator_is_packed(weights, book_run):
    config, arrays, record = pretrained.read(weights / "book.safetensors")
    whole, kept = checkpoint.load(Records(book_run).latest())
    assert set(arrays) == {name for name in whole if name.startswith(("fc3", "bn3", "fc4", "bn4", "deconv"))
                           and not name.endswith(("moment1_0", "moment2_0", "acc_0"))}
    assert list(record["shapes"]) == ["fc4w"]
    np.testing.assert_array_equal(arrays["bn33"], whole["bn33"])
    np.testing.assert_allclose(arrays["fc4w"], whole["fc4w"], atol=np.abs(whole["fc4w"]).max() / 60)
    assert record["trained"] == {"step": 2, "batch": 0, "epochs": 2, "epochs of the tutorial": 20}
    assert config["options"]["seed"] == 0 and config["versions"] == kept["config"]["versions"]
    assert config["dataset"]["checksum"] == kept["config"]["dataset"]["checksum"]


def test_the_record_tells_how_good_this_very_file_is(weights, book_run):
    config, arrays, record = pretrained.read(weights / "book.safetensors")
    run = Trained(book_run)
    measured = record["measured"]
    evaluation = Evaluation(run, run.features, COUNT)
    assert measured["protocol"] == evaluation.protocol
    real = evaluation.described(*run.real("train", COUNT))[0]
    fid = evaluation.compare(real, *evaluation.described(*run.drawn(config, arrays, COUNT)))["fid"]
    assert measured["packed"]["fid"] == pytest.approx(fid, rel=1e-4)
    assert measured["run"]["fid"] != measured["packed"]["fid"] != measured["untrained"]["fid"]
    assert measured["real"] == {"kind": "halves"}  # which are too few to be measured


def test_no_path_of_the_machine_is_in_a_file(weights, folder_run):
    for name in ("book", "cgan-folder", "faces"):
        record = record_of(weights, name)
        assert str(folder_run.parent.parent) not in json.dumps(record)
        assert record["config"]["dataset"]["source"] is None


@pytest.mark.parametrize(("name", "command"), [
    ("book", static_generate), ("cgan-folder", static_generate), ("faces", faces_generate)])
def test_commands_and_python_draw_from_it(weights, name, command, tmp_path, capsys):
    gan = load(f"pretrained:{name}")
    count = ["--rows", "2", "--cols", "3"] if gan.classes else ["--count", "4"]
    code, out, err = caller(command.main, capsys)("--pretrained", name, *count, "--output", tmp_path / "out")
    assert (code, err) == (0, "") and out.startswith(f"{6 if gan.classes else 4} pictures")
    drawn = np.load(tmp_path / "out" / "generated.npy")
    expected = gan.generate_new("all", 2, 3) if gan.classes else gan.generate(4)
    np.testing.assert_array_equal(drawn.reshape(expected.shape), expected)


@pytest.mark.parametrize(("command", "args", "words"), [
    (static_generate, ["--pretrained", "faces"], "which is for dygraph_celeba/generate.py"),
    (faces_generate, ["--pretrained", "book"], "which is for static_mnist/generate.py"),
    (static_generate, ["--pretrained", "boot"], "only book, cgan-folder, faces"),
    (static_generate, [], "there is no run in output_dcgan; --run DIR draws from the folder of a trained run, "
                          "--pretrained book|cgan-folder from a generator"),
    (faces_generate, [], "there is no run in work/Output; --run DIR draws from the folder of a trained run, "
                         "--pretrained faces from a generator"),
    (static_generate, ["--pretrained", "book", "--run", "x"], "--pretrained and --run exclude each other"),
    (static_generate, ["--pretrained", "book", "--checkpoint", "best"], "--checkpoint exclude each other"),
    (static_generate, ["--pretrained", "book", "--class", "3"], "book has no classes"),
])
def test_refusals(weights, tmp_path, monkeypatch, capsys, command, args, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = caller(command.main, capsys)(*args)
    assert (code, err.count("\n")) == (2, 1) and words in err, err
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_packed(weights, call, book_run):
    before = content(weights)
    for args, words in ((["--run", book_run, "--name", "book"], "replace it by --overwrite"),
                        (["--run", book_run, "--name", "../x"], "small letters"), ([], "--run and --name"),
                        (["--run", weights, "--name", "x"], "no run in"),
                        (["--run", book_run, "--name", "x", "--checkpoint", "y"], "none of the checkpoints")):
        code, _, err = call(*args)
        assert (code, err.count("\n")) == (2, 1) and words in err, err
    assert content(weights) == before


def test_a_generator_without_data_is_packed_unmeasured(call, folder_run, class_folders, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path)
    run = shutil.copytree(folder_run, tmp_path / "run")
    path, gone = run / "config.json", str(class_folders.with_name("gone"))
    config = json.loads(path.read_text(encoding="utf-8"))
    config["options"]["dataset"] = config["dataset"]["source"] = gone
    path.write_text(json.dumps(config), encoding="utf-8")
    code, out, err = call("--run", run, "--name", "unmeasured", "--count", COUNT)
    assert code == 0 and "note: the generator is not measured" in err and gone in err and out.count("\n") == 1
    assert "measured" not in record_of(tmp_path, "unmeasured")


def test_cards(weights, tmp_path):
    (tmp_path / "pictures").mkdir()
    blocks = "".join(f"<!-- generator {name} -->\n<!-- end -->\n\nNot good at.\n" for name in ("book", "other"))
    for page in cards.WORDS:
        (tmp_path / page).write_text(f"# Page\n<!-- generators -->\nbefore\n<!-- end -->\n{blocks}", encoding="utf-8")
    cards.write(tmp_path)
    fid = digits(record_of(weights, "book")["measured"]["packed"]["fid"], 4)
    for page, words in cards.WORDS.items():
        text = (tmp_path / page).read_text(encoding="utf-8")
        assert "before\n<" not in text and text.count("Not good at.") == 2 and cards.rendered(text, page) == text
        assert f"| {words['rows']['packed']} | {fid} |" in text
        assert "<!-- generator other -->\n<!-- end -->" in text and text.count("| `cgan-folder` | cgan |") == 1
        record = record_of(weights, "book")
        record["config"]["dataset"]["note"] = "small; arithmetic: bfloat16"
        said = {"models.md": "; arithmetic: bfloat16. ", "models.zh-CN.md": "；运算精度：bfloat16。"}[page]
        assert any(said in line and "small" not in line for line in cards.card("book", record, words))
    assert sorted(path.stem for path in (tmp_path / "pictures").iterdir()) == [
        "pretrained_book", "pretrained_cgan-folder", "pretrained_faces"]


def test_gallery_of_larger_pictures(monkeypatch):
    white = SimpleNamespace(classes=None, generate=lambda count, classes: np.ones([count, 132, 68, 1], "float32"))
    monkeypatch.setattr("common.load", lambda source: white)
    drawn = np.asarray(gallery.strip("large"))
    assert drawn.shape == (*np.array([gallery.ROWS, gallery.COLUMNS]) * (gallery.SIDE + plotting.GAP), 3)
    assert 0.2 < (drawn == 255).mean() < 0.4  # 44×23 of the 64×64 pixels


def test_a_gallery_needs_the_name_of_a_picture(weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gallery, "strip", None)  # nothing is drawn before
    for name, words in ((tmp_path, "is a folder"), (tmp_path / "gallery", "no suffix of a picture")):
        code, out, err = caller(gallery.main, capsys)("--output", name)
        assert (code, out, err.count("\n")) == (2, "", 1) and words in err


def test_gallery(weights, tmp_path, capsys, monkeypatch):
    path = tmp_path / "new" / "gallery.png"
    code, out, err = caller(gallery.main, capsys)("--output", path)
    assert (code, out, err) == (0, f"gallery of book, cgan-folder, faces: {path}\n", "")
    with Image.open(path) as whole:
        height = whole.height // 3
        faces = np.asarray(whole)[2 * height + gallery.TITLE:]
    drawn = plotting.to_uint8(load("pretrained:faces").generate(20))
    np.testing.assert_array_equal(faces[1:65, 1:65], drawn[0])
    np.testing.assert_array_equal(faces[66:130, -65:-1], drawn[19])
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path / "none")
    code, out, _ = caller(gallery.main, capsys)("--output", tmp_path / "no.png")
    assert code == 0 and "no trained generator comes with" in out and not (tmp_path / "no.png").exists()
