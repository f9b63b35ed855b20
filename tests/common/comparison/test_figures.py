"""Cutting figures: what was drawn comes back, and what is no grid is refused."""

import json

import numpy as np
import pytest
from matplotlib.image import imsave
from PIL import Image

from common import plotting
from common.comparison import figures
from common.comparison.cutting import NoGrid, cut
from common.errors import UserError
from common.recipe import Layout

RANDOM = np.random.RandomState(0)


def digits(count, side=28):
    """Something like digits: [n, side, side] in [-1, 1], black with a bright pattern in the middle."""
    pictures = np.full([count, side, side], -1, "float32")
    inner = slice(side // 7, -(side // 7))
    pictures[:, inner, inner] = RANDOM.uniform(-1, 1, pictures[:, inner, inner].shape)
    return pictures


def faces(count, side=64):
    """[n, side, side, 3] in [-1, 1], some with a white background."""
    small = RANDOM.randint(0, 256, [count, 8, 8, 3], "uint8")
    pictures = np.stack([np.asarray(Image.fromarray(each).resize((side, side), Image.BICUBIC)) for each in small])
    pictures = pictures / 127.5 - 1
    pictures[::7, :, :side // 4] = 1
    return pictures.astype("float32")


def repeated(pictures, size, margin=(52, 34, 46, 35)):
    """A figure as old matplotlib drew it: a grid larger by repeated pixels, in Greys_r, with a title and a margin."""
    from matplotlib import colormaps

    source = plotting.book_grid(pictures)
    places = ((np.arange(size) + 0.5) * len(source) / size).astype(int)
    grey = colormaps["Greys_r"]((source[np.ix_(places, places)] + 1) / 2, bytes=True)[..., :3]
    top, bottom, left, right = margin
    figure = np.full([size + top + bottom, size + left + right, 3], 255, "uint8")
    figure[top:top + size, left:left + size] = grey
    figure[10:20, 30:-30:2] = 0  # a line of the title: half of it is ink
    figure[25:36, 60:-60:3] = 60
    return figure


def save(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


def test_the_books_published_figure_comes_back_to_the_pixel(tmp_path):
    pictures = digits(256)
    shown = figures.read(save(tmp_path / "dcgan_demo.png", repeated(pictures, 616)))
    assert shown.real.shape == shown.generated.shape == (128, 28, 28, 1)
    back = np.concatenate([shown.real, shown.generated])[..., 0]
    assert np.abs(back - pictures).max() < 3 / 127.5  # two levels: the figure has 256 shades, and not evenly
    assert "28×28" in shown.note


@pytest.mark.parametrize("grid", [{}, {"rows": 6, "columns": 6}])
def test_black_margins_are_not_taken_for_gaps(tmp_path, grid):
    """Black pictures in black gaps, as torchvision draws them: nobody can tell how large they are."""
    random = np.random.RandomState(1)
    pixels = np.zeros([6 * 30 + 2, 6 * 30 + 2, 3], "uint8")
    for number in range(36):
        top, left = (2 + 30 * place for place in divmod(number, 6))
        y, x = np.mgrid[:28, :28]
        places = random.uniform(9, 19, [4, 2])
        blob = sum(np.exp(-((y - v) ** 2 + (x - h) ** 2) / 12) for v, h in places)
        pixels[top:top + 28, left:left + 28] = (255 * np.minimum(1, blob) * (blob > 0.1))[..., None]
    with pytest.raises(UserError, match="cannot be cut into its pictures"):
        figures.read(save(tmp_path / "letters.png", pixels), **grid)


@pytest.mark.parametrize(("gap", "factor", "side"), [(255, 2.6, 166), (0, 1.37, 88)])
def test_enlarged_grids_blend_with_their_gaps_and_are_cut_all_the_same(tmp_path, gap, factor, side):
    pixels = np.full([6 * 66 + 2, 6 * 66 + 2, 3], gap, "uint8")
    for number, picture in enumerate(plotting.to_uint8(faces(36))):
        top, left = (2 + 66 * place for place in divmod(number, 6))
        pixels[top:top + 64, left:left + 64] = picture
    size = round(len(pixels) * factor)
    larger = np.asarray(Image.fromarray(pixels).resize((size, size), Image.BICUBIC))
    found = figures.read(save(tmp_path / "faces.png", larger)).generated
    assert len(found) == 36 and all(abs(pixels - side) <= 2 for pixels in found.shape[1:3])


def test_a_published_figures_own_layout_counts(tmp_path):
    path = save(tmp_path / "dcgan_demo.png", repeated(digits(256), 616))
    assert len(figures.read(path, rows=8, columns=8).generated) == 128


def test_an_incomplete_last_row_leaves_empty_cells_out(tmp_path):
    pictures = digits(242)
    shown = figures.read(save(tmp_path / "conditionalGAN_demo.png", repeated(pictures, 616)))
    assert len(shown.real) == len(shown.generated) == 121
    assert np.abs(shown.generated[-1, ..., 0] - pictures[-1]).max() < 3 / 127.5


def run_folder(tmp_path, recipe, **dataset):
    (tmp_path / "config.json").write_text(json.dumps(
        {"recipe": recipe, "options": {}, "dataset": dataset, "versions": {}, "machine": {}}))
    return tmp_path


def test_a_runs_picture_of_the_book_comes_back_as_matplotlib_smoothed_it(tmp_path):
    pictures = digits(256)
    path = run_folder(tmp_path, "book") / "0019_0460.png"
    plotting.save_tutorial_grid(path, pictures, "Epoch ID=19 Batch ID=460 D-Loss=1.15858983994 DG-Loss=0.6668201\n ")
    shown = figures.read(path)
    back = np.concatenate([shown.real, shown.generated])[..., 0]
    assert back.shape == pictures.shape
    assert np.abs(back - pictures).mean() < 12 / 127.5  # of the noise that these pictures are
    assert "smoothed" in shown.note


def test_the_same_picture_anywhere_else_is_cut_as_it_was_drawn(tmp_path):
    plotting.save_tutorial_grid(tmp_path / "0019_0460.png", digits(256), "title")
    shown = figures.read(tmp_path / "0019_0460.png")
    assert shown.real is None and len(shown.generated) == 256  # nothing says which are real
    assert shown.generated.shape[1:] in [(37, 37, 1), (38, 38, 1)]


def test_a_picture_of_the_celeba_run(tmp_path):
    pictures = faces(100)
    path = run_folder(tmp_path, "faces") / "0001_0100.png"
    plotting.save_figure(path, plotting.tile(pictures, 10, 10, 6, 1.0),
                         "Epoch ID=1 Batch ID=100 \n\n D-Loss=0.1 G-Loss=5.0", inches=15, fontsize=20)
    shown = figures.read(path)
    assert shown.real is None and shown.generated.shape == (100, 64, 64, 3)
    assert np.abs(shown.generated - pictures).mean() < 1.5 / 127.5


@pytest.mark.parametrize("pictures, count", [(digits(64), 64), (digits(50), 50), (faces(25, 32), 25), (faces(10), 10)])
def test_plain_grids_come_back_exactly(tmp_path, pictures, count):
    plotting.save_png(tmp_path / "grid.png", plotting.grid(pictures))
    shown = figures.read(tmp_path / "grid.png")
    np.testing.assert_array_equal(plotting.to_uint8(shown.generated.reshape(pictures.shape)),
                                  plotting.to_uint8(pictures))
    assert len(shown.generated) == count


def test_a_grid_of_given_rows_and_columns(tmp_path):
    pictures = digits(30)
    plotting.save_png(tmp_path / "grid.png", plotting.tile(pictures, 3, 10))
    assert len(figures.read(tmp_path / "grid.png", 3, 10).generated) == 30
    with pytest.raises(UserError, match="it shows 3×10 cells .rows × columns., not 4×10"):
        figures.read(tmp_path / "grid.png", 4, 10)


def white_gaps(pictures, gaps):
    """10×10 pictures with white gaps of varying width and no margin, as the published faces have."""
    side = pictures.shape[1]
    width = 10 * side + sum(gaps)
    figure = np.full([width, width, 3], 255, "uint8")
    starts = np.concatenate([[0], np.cumsum(np.add(side, gaps))])
    for number, picture in enumerate(plotting.to_uint8(pictures)):
        top, left = starts[number // 10], starts[number % 10]
        figure[top:top + side, left:left + side] = picture
    return figure


def test_published_faces_real_and_generated(tmp_path):
    gaps = [7, 8, 7, 8, 7, 8, 7, 8, 7]
    real, generated = faces(100, 75), faces(100, 75)
    for name, pictures in (("face_image1.jpeg", real), ("face_image2.jpeg", generated)):
        Image.fromarray(white_gaps(pictures, gaps)).save(tmp_path / name, quality=95)
    save(tmp_path / "loss.png", np.zeros([300, 400, 3], "uint8"))  # of the same tutorial, and no grid
    shown = figures.read(tmp_path)
    assert shown.real.shape == shown.generated.shape == (100, 75, 75, 3)
    assert np.abs(shown.real - real).mean() < 4 / 127.5  # JPEG
    assert np.abs(shown.generated - generated).mean() < 4 / 127.5
    assert "JPEG" in shown.note
    assert figures.read(tmp_path / "face_image1.jpeg").generated is None


def test_of_many_large_pictures_some_are_read(tmp_path, monkeypatch):
    for number in range(9):
        Image.new("RGB", (8, 8), (10 * number, 0, 0)).save(tmp_path / f"{number}.png")
    monkeypatch.setattr(figures, "MOST_BYTES", 3 * 8 * 8 * 3)
    pictures = figures.read(tmp_path).generated
    np.testing.assert_allclose((pictures[:, 0, 0, 0] + 1) * 127.5, [0, 40, 80], atol=1e-3)  # evenly spread


def test_single_pictures_of_a_folder(tmp_path):
    pictures = digits(5)
    for number, picture in enumerate(pictures):
        Image.fromarray(plotting.to_uint8(picture)).convert("RGBA").save(tmp_path / f"test_{number}.png")
    shown = figures.read(tmp_path)
    np.testing.assert_array_equal(plotting.to_uint8(shown.generated[..., 0]), plotting.to_uint8(pictures))
    save(tmp_path / "other.png", np.zeros([30, 30, 3], "uint8"))
    with pytest.raises(UserError, match="several sizes"):
        figures.read(tmp_path)


def test_what_generate_has_written_is_read_without_its_grid(tmp_path):
    from common.training import sampling

    sampling.write(tmp_path, digits(6))
    assert figures.read(tmp_path).generated.shape == (6, 28, 28, 1)


def test_the_notes_colours_become_grey_again(tmp_path):
    values = np.linspace(0, 1, 28 * 28).reshape(28, 28)
    imsave(tmp_path / "test_0.png", values)
    back = figures.read(tmp_path).generated[0, ..., 0]
    assert np.abs(back - (values * 2 - 1)).max() < 2 / 127.5


@pytest.mark.parametrize("change, reason", [
    (lambda figure: figure[:52 + 616 - 77], "it shows"),  # two rows cut off
    (lambda figure: np.delete(figure, slice(52 + 39, 52 + 77), axis=0), "15×16"),  # one row missing
    (lambda figure: np.delete(figure, slice(60, 80), axis=1), "not of one size"),  # half a column missing
    (lambda figure: np.delete(figure, slice(52 + 100, 52 + 110), axis=0), "not of one size|not evenly|no gaps"),
    (lambda figure: np.full_like(figure, 200), "no gaps"),
], ids=["cut", "row", "column", "part", "blank"])
def test_a_damaged_figure_is_refused(tmp_path, change, reason):
    path = save(tmp_path / "dcgan_demo.png", change(repeated(digits(256), 616)))
    with pytest.raises(UserError, match=f"cannot be cut into its pictures: .*({reason})"):
        figures.read(path)


def test_an_empty_cell_within_is_refused(tmp_path):
    pictures = digits(16)
    pictures[5] = 0  # as grey as the gaps
    plotting.save_png(tmp_path / "grid.png", plotting.grid(pictures))
    with pytest.raises(UserError, match="cell 6 is empty"):
        figures.read(tmp_path / "grid.png")


def test_generated_pictures_that_are_still_blank_are_not_taken_for_less_of_them(tmp_path):
    pictures = digits(256)
    pictures[128:] = 0
    plotting.save_tutorial_grid(run_folder(tmp_path, "book") / "0000_0000.png", pictures, "title")
    with pytest.raises(UserError, match="128 of its cells are empty"):
        figures.read(tmp_path / "0000_0000.png")


@pytest.mark.parametrize("rows, columns", [(None, None), (4, 4), (16, 16)])
def test_photographs_and_curves_are_no_grids(tmp_path, rows, columns):
    save(tmp_path / "photo.png", plotting.to_uint8(faces(1, 400)[0]))
    plotting.save_losses(tmp_path / "losses.png", {"D": RANDOM.rand(500), "G": RANDOM.rand(500)}, "losses")
    save(tmp_path / "noise.png", RANDOM.randint(0, 256, [200, 300, 3], "uint8"))
    for name in ("photo.png", "losses.png", "noise.png"):
        with pytest.raises(UserError, match="cannot be cut"):
            figures.read(tmp_path / name, rows, columns)


def test_wrong_cells_are_refused():
    figure = np.asarray(repeated(digits(256), 616))
    with pytest.raises(NoGrid, match="not of 20×20 pixels"):
        cut(figure, Layout(cell=(20, 20), gap=9))
    assert cut(figure, figures.published()["dcgan_demo.png"])[0].shape == (256, 28, 28, 1)


def test_what_is_no_picture(tmp_path, monkeypatch):
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "half.png").write_bytes(save(tmp_path / "whole.png", np.zeros([99, 99, 3], "uint8")).read_bytes()[:80])
    (tmp_path / "empty").mkdir()
    run_folder(tmp_path, "book")
    for path, reason in (("text.png", "no picture"), ("half.png", "cannot read"), ("none.png", "there is no picture"),
                         ("empty", "holds no pictures"), (".", "is the folder of a run")):
        with pytest.raises(UserError, match=reason):
            figures.read(tmp_path / path)
    monkeypatch.setattr(figures, "MOST_PIXELS", 9000)
    with pytest.raises(UserError, match="99×99 pixels, 9000 are the most"):
        figures.read(tmp_path / "whole.png")


def test_several_figures_in_a_folder_want_a_choice(tmp_path):
    for name in ("DCGAN_demo.png", "conditionalGAN_demo.png"):
        save(tmp_path / name, repeated(digits(242), 616))
    with pytest.raises(UserError, match="several figures"):
        figures.read(tmp_path)
