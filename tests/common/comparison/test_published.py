"""The tutorials' figures: had once, or one line says why not."""

import pytest

from common import recipe as recipes
from common.comparison import figures
from common.errors import UserError


def test_published_figures_are_downloaded_once(tmp_path, monkeypatch):
    asked = []

    def fetch(name, mirrors, folder, md5, limit):
        asked.append((name, mirrors[0]))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(md5)
        return next((mirror for mirror in mirrors if "@263d" in mirror), mirrors[0])

    monkeypatch.setattr(figures, "fetch", fetch)
    for recipe, count in (("book", 1), ("note6", 64), ("cgan", 1), ("faces", 2)):
        folder = figures.download(recipes.load(recipe), tmp_path)
        assert len(list(folder.iterdir())) == count
        names = [name for name, _ in asked]
        assert figures.download(recipes.load(recipe), tmp_path) == folder and [name for name, _ in asked] == names
    assert asked[0][1] == ("https://raw.githubusercontent.com/PaddlePaddle/book/"
                           "af3b2f13d57eaa2d22321f24ae3f3bf3ed57950d/09.gan/image/")
    assert "@263d" not in asked[1][1] and "@263d" in asked[2][1]  # the mirror that served goes first


def test_without_network_one_line_says_what_to_do(tmp_path, monkeypatch):
    def fetch(name, mirrors, *_):
        raise figures.Unavailable("; ".join(f"{mirror.split('/')[2]}: no answer" for mirror in mirrors))

    monkeypatch.setattr(figures, "fetch", fetch)
    with pytest.raises(UserError) as error:
        figures.download(recipes.load("note6"), tmp_path)
    assert str(error.value).count("no answer") == 2 and "\n" not in str(error.value)
    assert str(error.value).endswith("with --reference")
