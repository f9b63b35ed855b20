"""Pictures: where each pixel goes, and what is written."""

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from common import plotting


def grey(count, size=3):
    """Pictures of one grey each, from -1 to 1."""
    return np.linspace(-1, 1, count, dtype="float32")[:, None, None] * np.ones([1, size, size], "float32")


def test_the_books_square_has_pads_above_and_left():
    picture = plotting.book_grid(grey(256, 28))
    assert picture.shape == (16 * 29, 16 * 29)  # the book's 16×16 with 1 pixel
    np.testing.assert_array_equal(picture[::29], 0)
    np.testing.assert_array_equal(picture[:, ::29], 0)
    assert picture[1, 1] == -1
    assert picture[-1, -1] == 1
    assert picture[1, 30] == grey(256)[1, 0, 0]  # row by row


@pytest.mark.parametrize(("count", "shape"), [
    (1, (1, 1)), (2, (1, 2)), (5, (2, 3)), (32, (4, 8)), (50, (5, 10)), (64, (8, 8)), (100, (10, 10)), (128, (8, 16))])
def test_a_grid_has_no_empty_band(count, shape):
    assert plotting.layout(count) == shape
    assert plotting.grid(grey(count)).shape == (4 * shape[0], 4 * shape[1])


@pytest.mark.parametrize(("pictures", "width"), [(grey(128, 28), 464), (grey(8, 28), 580), (grey(6, 300), 903)])
def test_a_small_grid_is_enlarged_by_a_whole_factor(tmp_path, pictures, width):
    plotting.save_grid(tmp_path / "grid.png", pictures)
    pixels = np.asarray(Image.open(tmp_path / "grid.png"))
    plain = plotting.to_uint8(plotting.grid(pictures))
    factor = pixels.shape[1] // plain.shape[1]
    assert pixels.shape[1] == width
    np.testing.assert_array_equal(pixels, plain.repeat(factor, axis=0).repeat(factor, axis=1))


def test_a_class_a_column_carries_its_label(tmp_path):
    names = ["Ankle boot", "1", "手写"]  # the font has no Chinese
    plotting.save_grid(tmp_path / "plain.png", grey(6, 28), (2, 3))
    plotting.save_grid(tmp_path / "labelled.png", grey(6, 28), (2, 3), names)
    plain, labelled = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("plain", "labelled"))
    head = len(labelled) - len(plain)
    np.testing.assert_array_equal(labelled[head:], plain)
    columns = np.array_split(labelled[:head], 3, axis=1)
    ink = [(column < 128).sum() for column in columns]
    assert ink[0] > ink[1] > 5 and ink[2] > 5
    assert all((column[:, [0, -1]] == 255).all() for column in columns)  # each in its own column


def test_each_of_many_labels_stands_above_the_middle_of_its_column(tmp_path):
    plotting.save_grid(tmp_path / "plain.png", grey(47, 28), (1, 47))
    plotting.save_grid(tmp_path / "labelled.png", grey(47, 28), (1, 47), "o" * 47)
    plain, labelled = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("plain", "labelled"))
    for column in np.split(labelled[:len(labelled) - len(plain)], 47, axis=1):  # a gap of 1 pixel, then 28
        assert abs(np.flatnonzero((column < 128).any(axis=0)).mean() - 14.5) <= 1.5


def test_the_books_square_leaves_cells_empty():
    picture = plotting.book_grid(grey(5) + 3)
    assert picture.shape == (12, 12)
    assert not picture[9:].any()
    assert not picture[5:, 9:].any()
    assert picture[5:8, 5:8].all()


def test_tile_takes_colours_and_other_pads():
    pictures = np.random.RandomState(0).uniform(-1, 1, [5, 4, 6, 3])
    picture = plotting.tile(pictures, 2, 3, pad=2)
    assert picture.shape == (12, 24, 3)
    np.testing.assert_array_equal(picture[8:12, 10:16], pictures[4])
    np.testing.assert_array_equal(plotting.tile(grey(2), 1, 2, pad=0), np.hstack(list(grey(2))))


def test_to_uint8_rounds_and_clips():
    values = [-2, -1, -1 + 0.9 / 127.5, 0, 1, 1.5]
    assert plotting.to_uint8(values).tolist() == [0, 0, 1, 128, 255, 255]
    every = np.arange(256, dtype="uint8")
    np.testing.assert_array_equal(plotting.to_uint8(every.astype("float32") / 255 * 2 - 1), every)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_png_keeps_every_pixel(tmp_path, shape):
    picture = np.random.RandomState(0).uniform(-1, 1, shape)
    plotting.save_png(tmp_path / "new" / "x.png", picture)
    with Image.open(tmp_path / "new" / "x.png") as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), plotting.to_uint8(picture))


def test_the_tutorials_figure_shows_its_own_picture_and_title(tmp_path):
    """One figure serves many pictures: nothing of one is left in the next."""
    black, white = (np.full([9, 28, 28], value, "float32") for value in (-1, 1))
    for name, pictures, title in [("1", black, "one"), ("2", white, "two\nlines"), ("3", black, "one")]:
        plotting.save_tutorial_grid(tmp_path / f"{name}.png", pictures, title)
    shown = [np.asarray(Image.open(tmp_path / f"{name}.png").convert("L")) for name in "123"]
    assert shown[0].tobytes() == shown[2].tobytes()
    middles = [image[image.shape[0] // 2 - 30:][:60, image.shape[1] // 2 - 30:][:, :60] for image in shown]
    assert middles[0].mean() < 30
    assert middles[1].mean() > 225
    plotting.save_tutorial_grid(tmp_path / "4.png", black, "another")
    assert np.asarray(Image.open(tmp_path / "4.png").convert("L")).tobytes() != shown[0].tobytes()


def test_the_scale_of_grey_is_fixed(tmp_path):
    """-1 is black and 1 is white, whatever is in the picture; between them lies the tutorial's colour map."""
    plotting.save_tutorial_grid(tmp_path / "x.png", np.full([1, 28, 28], 0.5, "float32"), " ")
    image = np.asarray(Image.open(tmp_path / "x.png").convert("L"))
    expected = 255 * colormaps["Greys_r"](0.75)[0]
    assert abs(image[image.shape[0] // 2, image.shape[1] // 2] - expected) <= 2


def test_losses_have_a_curve_each(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = {}
    plot = Axes.plot
    monkeypatch.setattr(Axes, "plot", lambda self, x, y, **options: drawn.update({options["label"]: (list(x), list(y))})
                        or plot(self, x, y, **options))
    plotting.save_losses(tmp_path / "losses.png", {"D-Loss": [1.5, 1.25], "DG-Loss": [0.5, 0.75]}, "title")
    assert drawn == {"D-Loss": ([0, 1], [1.5, 1.25]), "DG-Loss": ([0, 1], [0.5, 0.75])}
    assert Image.open(tmp_path / "losses.png").size[0] > 800


def test_a_title_may_hold_what_the_font_or_its_formulas_do_not_know(tmp_path, recwarn):
    title = "data: 手写$_{$x：1"
    plotting.save_tutorial_grid(tmp_path / "1.png", np.zeros([1, 28, 28]), title)
    plotting.save_losses(tmp_path / "2.png", {"D": [1, 2]}, title)
    assert plotting.printable(title) == "data: ??$_{$x?1"
    assert plotting.printable("two\nlines ×") == "two\nlines ×"
    assert not [each for each in recwarn.list if "Glyph" in str(each.message)]


@pytest.mark.parametrize("value", [-0.5, 0.5])
def test_a_figure_in_colour_has_the_pictures_colours(tmp_path, value):
    plotting.save_figure(tmp_path / "a.png", np.full([8, 8, 3], value, "float32"), "title", inches=2)
    with Image.open(tmp_path / "a.png") as image:
        middle = image.convert("RGB").getpixel((image.width // 2, image.height * 2 // 3))
    np.testing.assert_allclose(middle, (value + 1) * 127.5, atol=1)


def test_animation_shows_frames_in_order_and_holds_the_last(tmp_path):
    frames = []
    for number, value in enumerate(np.linspace(-1, 1, 30)):
        frames.append(tmp_path / f"{number:04d}.png")
        plotting.save_png(frames[-1], np.full([8, 8], value))
    plotting.save_animation(tmp_path / "all.gif", frames, seconds=3.0)
    plotting.save_animation(tmp_path / "some.gif", frames, most=5)
    plotting.save_animation(tmp_path / "one.gif", frames[:1])
    plotting.save_png(tmp_path / "older.png", np.zeros([12, 12]))  # of a version that laid its grids out otherwise
    plotting.save_animation(tmp_path / "resumed.gif", [tmp_path / "older.png", *frames[:3]])
    (tmp_path / "older.png").write_bytes(b"cut short")
    plotting.save_animation(tmp_path / "none.gif", [tmp_path / "older.png"])
    assert not (tmp_path / "none.gif").exists()
    plotting.save_animation(tmp_path / "resumed.gif", [*frames[:3], tmp_path / "older.png"])
    with Image.open(tmp_path / "resumed.gif") as image:
        assert (image.size, image.n_frames) == ((8, 8), 3)
    with Image.open(tmp_path / "all.gif") as image:
        assert (image.n_frames, image.info["duration"], image.info["loop"]) == (30, 100, 0)
        means = []
        for number in range(30):
            image.seek(number)
            means.append(np.asarray(image.convert("L")).mean())
        assert means == sorted(means)
        assert (means[0], means[-1]) == (0, 255)
        assert image.info["duration"] == 2100
    with Image.open(tmp_path / "some.gif") as image:
        assert image.n_frames == 5
        image.seek(4)
        assert np.asarray(image.convert("L")).mean() == 255  # first and last are among them
    with Image.open(tmp_path / "one.gif") as image:
        assert getattr(image, "n_frames", 1) == 1
