"""What each tutorial makes of the pictures that a user names."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from common.data.catalogue import PUBLISHED
from common.errors import UserError
from common.files import checksum
from common.training import options, run
from tests.helpers import labels, pictures, put


def opened(*argv):
    """A recipe, its pictures [N, H, W] or [N, H, W, 3] and what config.json keeps of them."""
    recipe, args = options.read("static_mnist", list(map(str, argv)))
    data, kept = recipe.open_data(vars(args))
    return recipe, data.images, {"options": vars(args), "dataset": kept}


@pytest.fixture
def own(tmp_path):
    """Pictures of two sizes, coloured and grey, with no classes."""
    (tmp_path / "own").mkdir()
    Image.fromarray(np.full((60, 90, 3), (0, 255, 0), np.uint8)).save(tmp_path / "own" / "a.jfif", "JPEG")
    Image.fromarray(pictures(1)[0]).save(tmp_path / "own" / "b.png")
    return tmp_path / "own"


@pytest.mark.parametrize("name", ["book", "note6"])
def test_book_and_note6_take_any_folder_of_pictures(own, name, capsys):
    recipe, images, config = opened("--recipe", name, "--dataset", own)
    assert images.shape == (2, 28, 28) and (images[1] == pictures(1)[0]).all()
    assert config["dataset"]["note"] == "data: own, not MNIST"
    assert "90×60: their middle squares are scaled to 28×28" in capsys.readouterr().err
    again, _ = recipe.real(config, "train")
    assert (again == images).all()


def test_resize_is_by_the_nearest_pixel(tmp_path):
    (tmp_path / "own").mkdir()
    Image.fromarray(pictures(1)[0].repeat(2, 0).repeat(3, 1)).save(tmp_path / "own" / "a.png")
    _, images, _ = opened("--recipe", "note6", "--dataset", tmp_path / "own", "--resize")
    assert (images == pictures(1)).all()


def test_a_run_on_a_resized_table_knows_its_labels(tmp_path):
    """A run of an earlier version knows its pictures only."""
    def table(tags):
        np.savez(tmp_path / "own.npz", x_train=pictures(), y_train=tags)
        recipe, images, config = opened("--recipe", "cgan", "--dataset", tmp_path / "own.npz", "--resize", "8")
        return recipe, images, {**config, **run.described()}

    recipe, images, config = table(labels())
    earlier = {**config, "dataset": {**config["dataset"], "checksum": hashlib.md5(images).hexdigest()}}
    for known in config, earlier:
        run.check_data("run", known, config["dataset"])
        assert (recipe.real(known, "train")[1] == labels()).all()
    _, _, changed = table(labels()[::-1])
    with pytest.raises(UserError, match="these pictures are others"):
        run.check_data("run", config, changed["dataset"])
    with pytest.raises(UserError, match="are not those that the run was trained on"):
        recipe.real(config, "train")


def test_a_class_whose_accents_are_stored_otherwise_keeps_its_number(tmp_path):
    for name in ("bag", "cafe\u0301"):  # é as macOS may store it
        (tmp_path / "own" / name).mkdir(parents=True)
        Image.fromarray(pictures(1)[0]).save(tmp_path / "own" / name / "a.png")
    recipe, _, config = opened("--recipe", "cgan", "--dataset", tmp_path / "own")
    (tmp_path / "own" / "cafe\u0301").rename(tmp_path / "own" / "caf\xe9")
    assert recipe.real(config, "train")[1].tolist() == [0, 1]


def test_what_the_message_on_another_published_set_advises_is_taken(tmp_path, monkeypatch):
    paths = put(tmp_path, np.zeros((60000, 4, 4), np.uint8), labels(60000), suffix="")
    known = replace(PUBLISHED["fashion"], contents={path.name: checksum(path) for path in paths})
    monkeypatch.setitem(PUBLISHED, "fashion", known)
    with pytest.raises(UserError, match="file of Fashion-MNIST, .*name fashion as the data set"):
        opened("--recipe", "cgan", "--dataset", "mnist", "--data_dir", tmp_path)
    assert len(opened("--recipe", "cgan", "--dataset", "fashion", "--data_dir", tmp_path)[1]) == 60000


def test_another_set_under_mnists_names_goes_by_its_folder(tmp_path):
    put(tmp_path / "kmnist", np.zeros((60000, 4, 4), np.uint8), labels(60000))
    with pytest.raises(UserError, match="another set of its form.*name its folder .*kmnist as the data set"):
        opened("--recipe", "cgan", "--dataset", "mnist", "--data_dir", tmp_path / "kmnist")
    _, images, config = opened("--recipe", "cgan", "--dataset", tmp_path / "kmnist")
    assert len(images) == 60000 and config["dataset"]["name"] == "kmnist"
