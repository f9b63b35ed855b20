"""The two Datasets, the order of the batches, worker processes, and where the faces come from."""

import multiprocessing
import os
import shutil
import signal
import time
import weakref
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common import recipe as recipes
from common.errors import UserError
from common.files import filled
from common.pictures.packed import open_packed
from common.training import options
from dygraph_celeba import data
from dygraph_celeba.data import DataGenerater, Faces, PackedDataset, network_input, open_faces
from tools import crop_celeba


@pytest.fixture(autouse=True)
def away_from_home(tmp_path, monkeypatch):
    """No test sees the user's pictures or leaves any in the home folder."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(data, "VARIANTS", 1)
    monkeypatch.chdir(home)


def pictures_in(folder, count=10, size=(64, 64), seed=0):
    folder.mkdir(parents=True)
    random = np.random.RandomState(seed)
    for number in range(count):
        small = Image.fromarray(random.randint(0, 256, [8, 8, 3]).astype("uint8"))
        small.resize(size).save(folder / f"{number:06d}.jpg")
    return folder


@pytest.fixture
def folder(tmp_path):
    return pictures_in(tmp_path / "imgs")


def test_both_readers_give_the_listings_pixels(folder):
    from skimage import io, transform

    packed, tutorial = PackedDataset(open_packed(folder, progress=False)), DataGenerater(folder)
    assert len(packed) == len(tutorial) == 10
    for number, path in enumerate(sorted(folder.iterdir())):
        listing = transform.resize(io.imread(path), (64, 64)).transpose().astype("float32")
        np.testing.assert_array_equal(tutorial[number], listing)
        np.testing.assert_array_equal(packed[number], listing)
        assert packed[number].dtype == np.float32 and packed[number].shape == (3, 64, 64)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_is_all_pictures_in_an_order_of_its_own_from_any_batch_on(folder, workers):
    dataset = DataGenerater(folder) if workers else PackedDataset(open_packed(folder, progress=False))
    every = {dataset[number].tobytes(): number for number in range(10)}

    def seen(epoch, first=0, seed=0):
        return [[every[np.asarray(picture).tobytes()] for picture in batch]
                for batch in Faces(dataset, 3, seed, workers).epoch(epoch, first)]

    whole = seen(0)
    assert [len(batch) for batch in whole] == [3, 3, 3], "the short last batch is dropped"
    assert len({number for batch in whole for number in batch}) == 9
    assert seen(0, first=1) == whole[1:]
    order = np.random.RandomState([0, 0]).permutation(10)[:9].reshape(3, 3)
    np.testing.assert_array_equal(whole, order)
    assert seen(1) != whole and seen(0, seed=1) != whole


def test_an_epoch_after_the_last_batch_is_empty(folder):
    assert list(Faces(PackedDataset(open_packed(folder, progress=False)), 3).epoch(0, first=3)) == []


def test_no_batch_stays_in_memory_after_its_use(folder):
    """Paddle's loader keeps them until the garbage collector comes by, unless they come in a list."""
    import gc

    gc.collect()
    gc.disable()
    try:
        epoch = Faces(DataGenerater(folder), 2, workers=2).epoch(0)
        kept = [weakref.ref(next(epoch)) for _ in range(5)]
        epoch.close()
        assert not any(reference() is not None for reference in kept)
    finally:
        gc.enable()


def alive(pids):
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()
            and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"]


@pytest.mark.parametrize("end", ["finished", "closed", "not drained"])
def test_no_worker_outlives_its_epoch(folder, end):
    epoch = Faces(DataGenerater(folder), 2, workers=2).epoch(0)
    next(epoch)
    workers = [worker.pid for worker in multiprocessing.active_children()]
    assert len(workers) == 2 and len(alive(workers)) == 2
    if end == "closed":
        epoch.close()
    else:  # the loop asks for the batches that there are, and not for one more
        for _ in range(4):
            next(epoch)
        if end == "finished":
            assert list(epoch) == []
        del epoch
    assert alive(workers) == []


def test_ctrl_c_in_a_terminal_does_not_stop_the_workers(folder, monkeypatch):
    """The batch in work is to be finished, for which the main process may still need pictures.

    The second worker is slow to begin, and so receives the signal before it could ignore it.
    """
    settle = data.settle_worker
    monkeypatch.setattr(data, "settle_worker", lambda number: (time.sleep(number), settle(number)))
    epoch = Faces(DataGenerater(folder), 1, workers=2).epoch(0)
    next(epoch)
    for worker in multiprocessing.active_children():
        os.kill(worker.pid, signal.SIGINT)
    assert len(list(epoch)) == 9


def test_macos_where_paddle_starts_no_workers(folder, monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.warns(UserWarning, match="not supported on MacOs"):
        assert len(list(Faces(DataGenerater(folder), 2, workers=2).epoch(0))) == 5


def test_workers_end_when_their_parent_is_killed(folder):
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        epoch = Faces(DataGenerater(folder), 2, workers=2).epoch(0)
        next(epoch)
        workers = [worker.pid for worker in multiprocessing.active_children()]
        os.write(writing, " ".join(map(str, workers)).encode())
        time.sleep(60)
        os._exit(0)
    workers = [int(pid) for pid in os.read(reading, 100).split()]
    assert len(alive(workers)) == 2
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    for _ in range(100):
        if not alive(workers):
            break
        time.sleep(0.1)
    assert alive(workers) == []


def test_a_picture_that_cannot_be_read_is_named(folder):
    (folder / "000004.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"000004\.jpg cannot be used: .*; remove it"):
        list(Faces(DataGenerater(folder), 5, workers=2).epoch(0))


def test_a_grey_picture_is_named_by_the_tutorials_reader(folder):
    Image.new("L", (64, 64)).save(folder / "000004.jpg")
    with pytest.raises(UserError, match=r"000004\.jpg cannot be used: not red, green and blue"):
        DataGenerater(folder).load(4)


def test_auto_takes_what_lies_where_the_tutorial_has_it(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    pictures_in(tmp_path / "work" / "imgs")
    dataset, description = open_faces()
    assert len(dataset) == 10 and description["name"] == "CelebA" and not description["fallback"]
    assert description["source"] == str(tmp_path / "work" / "imgs") and description["note"] == ""
    assert "NOT CELEBA" not in capfd.readouterr().err


def test_an_empty_folder_of_the_tutorials_hides_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work" / "imgs").mkdir(parents=True)
    pictures_in(tmp_path / "work" / "img_align_celeba", size=(178, 218))
    assert open_faces()[1]["source"] == str(tmp_path / "work" / "img_align_celeba")


def test_celeba_unpacked_where_the_tutorial_says_is_found(tmp_path, monkeypatch, capfd):
    """Section 2 has the folder in the project, the listing of section 2.1 in ``work``."""
    monkeypatch.chdir(tmp_path)
    pictures_in(tmp_path / "img_align_celeba", size=(178, 218))
    (tmp_path / "work/img_align_celeba").mkdir(parents=True)  # and an empty folder hides nothing
    assert open_faces()[1]["source"] == str(tmp_path / "img_align_celeba")
    assert not crop_celeba.main([]) and "reading img_align_celeba" in capfd.readouterr().out
    assert len(list((tmp_path / "work" / "imgs").iterdir())) == len(list((tmp_path / "img_align_celeba").iterdir()))


def test_other_pictures_than_celebas_go_by_their_own_name(tmp_path, capfd):
    """In folders of their own, of any size, one with a name that is no UTF-8."""
    pictures_in(tmp_path / "anime" / "a", count=3, size=(96, 96))
    pictures_in(tmp_path / "anime" / "b", count=3, size=(96, 96))
    os.rename(tmp_path / "anime/b/000001.jpg", os.fsencode(tmp_path) + b"/anime/b/Pok\xe9mon.jpg")  # noqa: PTH104
    dataset, description = open_faces(data_dir=tmp_path / "anime")
    assert len(dataset) == 6 and description["left_out"] == 0
    assert (description["name"], description["note"]) == ("anime", "data: anime, not CelebA")
    assert recipes.load("faces").data_kind({"dataset": description}) == "folder"  # no figure of CelebA beside them
    out, err = capfd.readouterr()
    assert "middle square is taken: 6 of 6 pictures" in err and "CelebA" not in out


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_uncropped_pictures_are_cropped_on_the_way_and_it_is_said(tmp_path, kind, capfd):
    source = pictures_in(tmp_path / "img_align_celeba", count=4, size=(178, 218))
    first = Image.open(source / "000000.jpg")
    if kind == "archive":
        archive = tmp_path / "img_align_celeba.zip"
        with zipfile.ZipFile(archive, "w") as file:
            for path in source.iterdir():
                file.write(path, f"img_align_celeba/{path.name}")
        source = archive
    dataset, _ = open_faces(data_dir=source)
    assert "cropping" in capfd.readouterr().err
    expected = np.asarray(first.resize((64, 78), Image.BILINEAR).crop((0, 10, 64, 74)))
    np.testing.assert_array_equal(np.rint(dataset[0].transpose(2, 1, 0) * 255), expected)


def test_a_box_of_ones_own_from_folders_and_archives(tmp_path, capfd):
    """Each box has an array of its own, the run's pictures are found again, and what cannot be cropped is told."""
    source = pictures_in(tmp_path / "img_align_celeba", count=4, size=(178, 218))
    first = Image.open(source / "000000.jpg")
    archive = shutil.make_archive(source, "zip", source)
    small = pictures_in(tmp_path / "imgs", count=4)
    recipe = recipes.load("faces")
    for place in str(source), archive:
        made = {}
        for typed, box in (([], (0, 10, 64)), (["--y", "3"], (0, 3, 64)), (["--x", "9"], (9, 10, 64)),
                           (["--x", "5", "--y", "0", "--size", "128"], (5, 0, 128))):
            args = vars(options.complete(recipe, ["--data_dir", place, *typed]))
            faces, kept = recipe.open_data(args)
            x, y, size = box
            short = first.resize((size, 218 * size // 178), Image.BILINEAR).crop((x, y, x + size, y + size))
            expected = np.asarray(short.resize((64, 64), Image.BILINEAR))
            np.testing.assert_array_equal(faces.images.packed[0], expected)
            again, _ = recipe.real({"options": args, "dataset": kept}, "train")
            np.testing.assert_array_equal(again[0], expected)
            made[faces.images.packed.path.name] = kept["checksum"]
        assert len(made) == len(set(made.values())) == 4
    told = capfd.readouterr().err
    assert "9 black columns at the right" in told and "rows at the bottom" not in told
    for typed, words in ((["--data_dir", archive, "--x", "64"], r"\(64,10\) to \(128,74\) lies beside the pictures"),
                         (["--data_dir", archive, "--y", "78"], "64×78 pixels after scaling; choose a smaller"),
                         (["--data_dir", str(faces.images.packed.path), "--y", "3"], "cropped already"),
                         (["--dataset", "faces", "--y", "3"], "crop pictures of your own"),
                         (["--data_dir", str(small), "--reader", "skimage", "--x", "3"], "cropped already")):
        with pytest.raises(UserError, match=words):
            recipe.open_data(vars(options.complete(recipe, typed)))
    recipe.open_data(vars(options.complete(recipe, ["--data_dir", str(small), "--x", "3"])))
    assert "have 64×64 pixels and are not cropped again" in capfd.readouterr().err


def test_celeba_that_is_not_there_is_an_error_that_says_where_to_have_it():
    with pytest.raises(UserError) as error:
        open_faces("celeba")
    text = str(error.value)
    assert "mmlab.ie.cuhk.edu.hk/projects/CelebA.html" in text and "img_align_celeba.zip" in text
    assert "--data_dir" in text and "work/imgs" in text


def test_a_folder_with_nothing_but_a_systems_own_files_is_empty(tmp_path):
    folder = tmp_path / "imgs"
    folder.mkdir()
    (folder / ".DS_Store").touch()
    (folder / ".000001.jpg.part").touch()
    assert not filled(folder)
    (folder / "000001.jpg").touch()
    assert filled(folder)


def test_a_named_folder_that_is_not_there_is_an_error_and_no_reason_to_fall_back():
    with pytest.raises(UserError, match="no such folder"):
        open_faces("auto", Path("nowhere"))


@pytest.mark.parametrize("what", ["uncropped", "archive"])
def test_the_tutorials_reader_wants_cropped_pictures(tmp_path, what):
    source = pictures_in(tmp_path / "img_align_celeba", count=1, size=(178, 218))
    if what == "archive":
        source = Path(shutil.make_archive(source, "zip", source))
    with pytest.raises(UserError, match=r"tools/crop_celeba\.py --input"):
        open_faces(data_dir=source, reader="skimage")


def test_a_picture_that_could_not_be_read_for_a_moment_is_read_again(folder, monkeypatch):
    expected = [batch.numpy() for batch in Faces(DataGenerater(folder), 2, workers=1).epoch(0)]
    monkeypatch.setattr(DataGenerater, "__getitem__", lambda self, idx: np.full([3, 64, 64], np.nan, "float32"))
    found = [batch.numpy() for batch in Faces(DataGenerater(folder), 2, workers=1).epoch(0)]
    np.testing.assert_array_equal(found, expected)


def test_embedded_faces_are_announced_unless_asked_for_and_recorded(capfd):
    for dataset in "auto", "faces":
        pictures, description = open_faces(dataset)
        notice = capfd.readouterr().err
        assert ("NOT CELEBA" in notice and "mmlab.ie.cuhk.edu.hk" in notice) == (dataset == "auto")
        assert description["fallback"] == (dataset == "auto")
        assert description["name"] == "embedded faces" and "not CelebA" in description["note"]
        assert len(pictures) == description["pictures"] == 100
        assert 0.1 < pictures[0].mean() < 0.9 and pictures[0].std() > 0.05


def test_embedded_faces_have_celebas_size_and_show_scikit_images_faces():
    from skimage import data as bundled
    from skimage import transform

    pictures = list(data.celeba_like())
    assert all(picture.shape == (218, 178, 3) and picture.dtype == np.uint8 for picture in pictures)
    faces = bundled.lfw_subset()
    for number in (0, 50, 99):
        grey = transform.resize(pictures[number][28:206].mean(2), (25, 25))
        likeness = [np.corrcoef(grey.ravel(), face.ravel())[0, 1] for face in faces]
        assert np.argmax(likeness) == number
    np.testing.assert_array_equal(pictures[3], next(p for n, p in enumerate(data.celeba_like()) if n == 3))


def test_embedded_faces_are_made_once_and_both_readers_read_them(monkeypatch):
    packed, one = open_faces("faces")
    monkeypatch.setattr(data, "celeba_like", None)
    tutorial, two = open_faces("faces", reader="skimage")
    assert one["source"] == two["source"]
    np.testing.assert_array_equal(packed[7], tutorial[7])


def test_half_of_the_embedded_faces_are_not_kept(monkeypatch):
    monkeypatch.setattr(data, "celeba_like", lambda: [np.full([218, 178, 3], 128, np.uint8)] * 5)
    crop_folder = data.crop_folder

    def interrupted(*args, **kwargs):
        return replace(crop_folder(*args, **kwargs), left=3)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(data, "crop_folder", interrupted)
        open_faces("faces")
    assert len(open_faces("faces")[0]) == 5


def test_the_tutorials_reader_knows_files_by_their_own_names(folder):
    (folder / "000003.jpg").rename(folder / "000003.bmp")
    pictures, description = open_faces(data_dir=folder, reader="skimage")
    assert pictures.datalist[3] == "000003.bmp" and description["checksum"]
    assert pictures[3].shape == (3, 64, 64)


@pytest.mark.parametrize("reader", ["packed", "skimage"])
def test_a_checksum_goes_by_contents_and_not_by_place(folder, tmp_path, reader):
    def checksum(path):
        return open_faces(data_dir=path, reader=reader)[1]["checksum"]

    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere, copy_function=shutil.copyfile)
    before = checksum(folder)
    assert checksum(elsewhere) == before
    Image.new("RGB", (64, 64), "red").save(elsewhere / "000003.jpg")
    assert checksum(elsewhere) != before
    (folder / "000003.jpg").unlink()
    assert checksum(folder) != before


def test_network_input_is_the_tutorials_dataset_to_the_bit(tmp_path):
    """The listing: io.imread, transform.resize to 64×64, transpose, astype('float32')."""
    io_, transform = pytest.importorskip("skimage.io"), pytest.importorskip("skimage.transform")
    every = np.arange(64 * 64 * 3, dtype=np.int64).reshape(64, 64, 3) % 256
    arrays = [every.astype(np.uint8), np.random.RandomState(0).randint(0, 256, (64, 64, 3), np.uint8)]
    for number, array in enumerate(arrays):
        Image.fromarray(array).save(tmp_path / f"{number}.png")
    theirs = [transform.resize(io_.imread(tmp_path / f"{number}.png"), (64, 64)).transpose().astype("float32")
              for number in range(2)]
    ours = network_input(np.array(arrays))
    assert ours.dtype == np.float32 and ours.shape == (2, 3, 64, 64) and ours.flags.c_contiguous
    assert np.array_equal(ours, theirs)


def test_network_input_has_width_before_height():
    picture = np.zeros((1, 64, 64, 3), np.uint8)
    picture[0, 5, 40, 2] = 255  # row 5, column 40, blue
    assert np.argwhere(network_input(picture)).tolist() == [[0, 2, 40, 5]]
    assert network_input(picture).max() == 1
