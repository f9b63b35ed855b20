"""tools/crop_celeba.py as a user types it: outcomes, messages, exit codes."""

import io
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from common.crop import Summary
from tests.helpers import caller, jpeg
from tools import crop_celeba

TOOL = Path(crop_celeba.__file__)


@pytest.fixture
def crop(monkeypatch, capsys):
    """Runs the tool in this process, in a folder."""
    def run(folder, *options):
        monkeypatch.chdir(folder)
        return SimpleNamespace(**dict(zip(("returncode", "stdout", "stderr"),
                                          caller(crop_celeba.main, capsys)(*options), strict=True)))

    return run


def fill(folder, count=3):
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number + 1:06}.jpg").write_bytes(jpeg(number))
    return folder


def pack_zip(path, count=3):
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as stream:
        for number in range(count):
            stream.writestr(f"img_align_celeba/{number + 1:06}.jpg", jpeg(number))
    return path


def test_without_options_it_takes_the_tutorials_folders(crop, tmp_path):
    fill(tmp_path / "work" / "img_align_celeba")
    result = crop(tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("work/imgs: 3 done, 0 skipped (there already), 0 failed")
    assert "pictures/s" in result.stdout and result.stderr == ""
    assert {Image.open(each).size for each in (tmp_path / "work" / "imgs").iterdir()} == {(64, 64)}
    again = crop(tmp_path)
    assert again.returncode == 0 and "0 done, 3 skipped" in again.stdout


@pytest.mark.parametrize("place", ["work/img_align_celeba.zip", "img_align_celeba.zip"])
def test_without_the_folder_it_finds_the_archive_and_says_so(crop, tmp_path, place):
    pack_zip(tmp_path / place)
    result = crop(tmp_path)
    assert result.returncode == 0 and f"reading {place}" in result.stdout and "3 done" in result.stdout


def test_y_20_warns_of_six_black_rows_and_makes_them(crop, tmp_path):
    fill(tmp_path / "in")
    result = crop(tmp_path, "--input", "in", "--output", "out", "--y", 20)
    assert result.returncode == 0 and "6 black rows" in result.stderr
    for each in (tmp_path / "out").iterdir():
        assert np.asarray(Image.open(each))[-6:].mean() < 10 < np.asarray(Image.open(each))[-8:-6].mean()
    assert "black" not in crop(tmp_path, "--input", "in", "--output", "other").stderr


def test_failures_are_listed_and_give_exit_code_1(crop, tmp_path):
    fill(tmp_path / "in")
    (tmp_path / "in" / "bad.jpg").write_bytes(b"text")
    (tmp_path / "in" / "square.jpg").write_bytes(jpeg(0, 64, 64))
    for output in "out", "out.npy":
        result = crop(tmp_path, "--input", "in", "--output", output)
        assert result.returncode == 1
        assert "bad.jpg: not a picture" in result.stderr
    assert "Traceback" not in result.stderr
    result = crop(tmp_path, "--input", "in", "--output", "out")
    assert result.returncode == 1 and "3 skipped" in result.stdout and "2 failed" in result.stdout
    assert "square.jpg: 64×64 after scaling" in result.stderr and "--y 0 would" in result.stderr


def test_an_output_called_npy_is_packed_straight_from_the_archive(crop, tmp_path):
    pack_zip(tmp_path / "a.zip")
    result = crop(tmp_path, "--input", "a.zip", "--output", "faces.npy")
    assert result.returncode == 0 and "faces.npy: 3 pictures" in result.stdout
    array = np.load(tmp_path / "faces.npy", allow_pickle=False)
    image = Image.open(io.BytesIO(jpeg(1))).resize((64, 78), Image.BILINEAR).crop((0, 10, 64, 74))
    assert array.shape == (3, 64, 64, 3) and np.array_equal(array[1], image)


def test_an_array_of_ones_own_is_not_written_over(crop, tmp_path):
    fill(tmp_path / "in")
    np.save(tmp_path / "mine.npy", np.arange(3))
    before = (tmp_path / "mine.npy").read_bytes()
    result = crop(tmp_path, "--input", "in", "--output", "mine.npy")
    assert result.returncode == 2 and "--overwrite" in result.stderr
    assert (tmp_path / "mine.npy").read_bytes() == before
    for wrong in ("nowhere", "mine.npy"):
        assert crop(tmp_path, "--input", wrong, "--output", "mine.npy", "--overwrite").returncode == 2
    assert (tmp_path / "mine.npy").read_bytes() == before
    assert crop(tmp_path, "--input", "in", "--output", "mine.npy", "--overwrite").returncode == 0
    assert len(np.load(tmp_path / "mine.npy")) == 3


def test_a_json_file_beside_the_array_stays(crop, tmp_path):
    fill(tmp_path / "in")
    (tmp_path / "mine.json").write_text('{"annotations": []}')
    result = crop(tmp_path, "--input", "in", "--output", "mine.npy", "--overwrite")
    assert result.returncode == 2 and "mine.json is there and is no record of packed pictures" in result.stderr
    assert (tmp_path / "mine.json").read_text() == '{"annotations": []}' and not (tmp_path / "mine.npy").exists()


def test_the_current_folder_as_output(crop, tmp_path):
    fill(tmp_path / "in")
    (tmp_path / "out").mkdir()
    assert crop(tmp_path / "out", "--input", "../in", "--output", ".").returncode == 0
    assert len(list((tmp_path / "out").iterdir())) == 3 and (tmp_path / "out.crop.json").exists()


@pytest.mark.parametrize("options, words", [
    (["--input", "nowhere"], "no such folder or archive"), (["--input", "empty"], "no pictures"),
    (["--input", "text"], "not a zip or tar archive"),
    (["--output", "text"], "not a folder"), (["--output", "in"], "the pictures themselves"),
    (["--output", "text/out"], "cannot write"), (["--threads", "0"], "threads"), (["--threads", "x"], "threads"),
    (["--size", "0"], "size"), (["--y", "-1"], "--y"), (["--frames"], "--frames"),
    (["--size", "5000"], "4096"), (["--x", "64"], "beside the pictures"),
    (["--output", "a.npy", "--y", "78"], "beside the pictures"), (["--output", "text/a.npy"], "cannot write")])
def test_bad_usage_is_one_line_and_exit_code_2(crop, tmp_path, options, words):
    fill(tmp_path / "in")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("text")
    defaults = ["--input", "in", "--output", "out"]
    result = crop(tmp_path, *defaults, *options)
    assert result.returncode == 2, result
    lines = [line for line in result.stderr.splitlines() if not line.startswith("packing ")]
    assert len(lines) == 1 and lines[0].startswith("error: ") and words in lines[0]


def test_ctrl_c_says_how_many_are_done_and_the_next_run_continues(crop, tmp_path):
    count = 90  # of pictures that take long: seconds in one thread, whatever else the machine does
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "000001.jpg").write_bytes(jpeg(width=1780, height=2180))
    for number in range(2, count + 1):
        (tmp_path / "in" / f"{number:06}.jpg").hardlink_to(tmp_path / "in" / "000001.jpg")
    process = subprocess.Popen([sys.executable, str(TOOL), "--input", "in", "--output", "out", "--threads", "1"],
                               cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               # a shell's background job, as checks often are, starts with Ctrl-C ignored
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    until = time.monotonic() + 60
    while not list(tmp_path.glob("out/*.jpg")) and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    done = len(list((tmp_path / "out").glob("*.jpg")))
    assert process.returncode == 130 and 0 < done < count
    assert f"{done} done" in out and f"{count - done} pictures to go; run again to continue" in err
    assert "Traceback" not in err
    assert len(list((tmp_path / "out").iterdir())) == done
    again = crop(tmp_path, "--input", "in", "--output", "out")
    assert again.returncode == 0 and f"{count - done} done, {done} skipped" in again.stdout


def test_an_overwriting_run_that_is_interrupted_starts_anew(capsys):
    assert crop_celeba.report(Summary(1, 0, [], 2, 1.0), "out", overwrite=True) == 130
    assert "2 pictures to go; run again with --overwrite to crop all of them anew" in capsys.readouterr().err
