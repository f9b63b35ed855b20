"""What both generate.py commands share: reading a run, and the files that are written."""

import json

import numpy as np
import pytest
from PIL import Image

from common import generator, plotting
from common.errors import UserError
from common.training import checkpoint, sampling

CONFIG = {"recipe": "fake", "options": {"seed": 3}, "dataset": {}, "versions": {}, "machine": {}}


@pytest.fixture
def run(tmp_path):
    """A run with two checkpoints."""
    path = tmp_path / "run"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG))
    for epoch in (1, 2):
        config = {**CONFIG, "options": {"seed": epoch}}
        checkpoint.save(path / "checkpoints", epoch, 0, {"w": np.full(2, epoch, "float32")}, {"config": config})
    return path


def test_a_run_is_read_at_its_newest_checkpoint_or_at_another(run):
    config, arrays = generator.read_run(run)
    assert (config["options"]["seed"], arrays["w"].tolist()) == (2, [2, 2])  # the checkpoint's own options
    config, arrays = generator.read_run(run, run / "checkpoints" / "0001_0000.safetensors")
    assert (config["options"]["seed"], arrays["w"].tolist()) == (1, [1, 1])


def test_a_run_is_read_without_a_good_config(run):
    (run / "config.json").write_text('{"recipe": ')
    assert generator.read_run(run)[0]["options"]["seed"] == 2


def test_a_checkpoint_in_the_home_folder(run, monkeypatch):
    monkeypatch.setenv("HOME", str(run))
    assert generator.read_run("~", "~/checkpoints/0001_0000.safetensors")[0]["options"]["seed"] == 1


@pytest.mark.parametrize(("shape", "columns", "size"), [
    ((5, 4, 6), None, (3 * 7 * 29, 2 * 5 * 29)), ((5, 4, 6, 1), 2, (2 * 7 * 40, 3 * 5 * 40)),
    ((6, 4, 6, 3), 6, (6 * 7 * 14, 1 * 5 * 14)),
])
def test_grid_single_pictures_and_raw_array(tmp_path, capsys, shape, columns, size):
    pictures = np.random.RandomState(0).uniform(-1, 1, shape).astype("float32")
    sampling.write(tmp_path / "out", pictures, columns)
    grid, raw = tmp_path / "out" / "grid.png", tmp_path / "out" / "generated.npy"
    assert capsys.readouterr().out.startswith(f"{len(pictures)} pictures: {grid}, {raw}, ")
    np.testing.assert_array_equal(np.load(raw), pictures)
    drawn = pictures[..., 0] if shape[3:] == (1,) else pictures
    colours = shape[3:] == (3,)
    with Image.open(grid) as image:
        assert (image.size, image.mode) == (size, "RGB" if colours else "L")
        factor = image.width // ((columns or 3) * 7)
        found = np.asarray(image).astype(float)[::factor, ::factor]
    np.testing.assert_allclose(found[1:5, 1:7], (drawn[0] + 1) * 127.5, atol=0.51)
    for number in range(1, shape[0] + 1):
        found = np.asarray(Image.open(tmp_path / "out" / f"generated_{number}.png")).astype(float)
        np.testing.assert_allclose(found, (drawn[number - 1] + 1) * 127.5, atol=0.51)


def test_earlier_pictures_are_never_replaced(tmp_path):
    pictures = np.zeros([2, 4, 4], "float32")
    sampling.write(tmp_path, pictures)
    with pytest.raises(UserError, match="holds generated pictures already"):
        sampling.write(tmp_path, pictures)


def test_what_an_interrupted_command_has_left_goes(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(plotting, "save_grid", interrupted)
        sampling.write(tmp_path, np.zeros([3, 4, 4], "float32"))
    (tmp_path / "generated_best.png").touch()  # the user's
    sampling.write(tmp_path, np.zeros([2, 4, 4], "float32"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "generated.npy", "generated_1.png", "generated_2.png", "generated_best.png", "grid.png"]


def test_pictures_whose_grid_was_moved_away_are_never_replaced(tmp_path):
    sampling.write(tmp_path, np.zeros([2, 4, 4], "float32"))
    (tmp_path / "grid.png").rename(tmp_path / "best.png")
    with pytest.raises(UserError, match="holds generated pictures already"):
        sampling.write(tmp_path, np.zeros([1, 4, 4], "float32"))
    assert (tmp_path / "generated_2.png").is_file()


@pytest.mark.parametrize("names", [["generated_20240115.png"], ["generated_2.png", "generated.npy"], ["generated.npy"]])
def test_files_of_another_program_are_never_replaced(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("another program's")
    with pytest.raises(UserError, match="holds generated pictures already; choose another --output"):
        sampling.write(tmp_path, np.zeros([2, 4, 4], "float32"))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(names, "another program's")


def test_earlier_pictures_are_found_before_drawing(tmp_path, book_run):
    (tmp_path / "grid.png").touch()
    args, typed = sampling.parser("static_mnist", book_run, tmp_path).both([])
    with pytest.raises(UserError, match="holds generated pictures already"):
        sampling.load("static_mnist", args, typed)


def test_defaults(tmp_path):
    args = sampling.parser("static_mnist", "run", "out").parse_args([])
    assert (str(args.run), str(args.output), args.count, args.seed) == ("run", "out", 64, 1)
    with pytest.raises(UserError, match="--count"):
        sampling.parser("static_mnist", "run", "out").parse_args(["--count", "0"])


def test_the_help_names_the_generators_that_the_command_can_draw_from():
    helps = {package: sampling.parser(package, "run", "out").format_help()
             for package in ("static_mnist", "dygraph_celeba")}
    assert "faces" in helps["dygraph_celeba"] and "faces" not in helps["static_mnist"]
    assert "cgan-emnist" in helps["static_mnist"] and "cgan" not in helps["dygraph_celeba"]
