"""Downloads end well, whatever the mirrors do."""

import hashlib
import http.server
import io
import os
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from common.data import datasets, download
from common.data.datasets import load
from common.errors import UserError
from tests.helpers import IMAGES, LABELS, emnist, labels, pictures, put

LONGEST_WAIT = download.CONNECT_SECONDS * max(len(each.mirrors) for each in datasets.PUBLISHED.values())


class Mirror(http.server.ThreadingHTTPServer):
    """A server of `files`, which can be made to misbehave; `asked` lists each request's path and Range."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files, self.asked = dict(files), []
        self.ranges, self.cut, self.delay, self.tell_length, self.range_shift = True, None, 0, True, 0
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/"


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        mirror, name, wanted = self.server, self.path.strip("/"), self.headers.get("Range")
        mirror.asked.append((name, wanted))
        time.sleep(mirror.delay)
        if name not in mirror.files:
            return self.send_error(404)
        data, start = mirror.files[name], 0
        if wanted and mirror.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                return self.send_error(416)
            start += mirror.range_shift
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        data = data[start:]
        if mirror.tell_length:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data if mirror.cut is None else data[:mirror.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """Makes servers of a small MNIST, which is then the published one, with those servers its mirrors."""
    paths = put(tmp_path / "origin", pictures(200), labels(200))
    files = {path.name: path.read_bytes() for path in paths}
    servers = []

    def start(**behaviour):
        servers.append(Mirror(files))
        for name, value in behaviour.items():
            setattr(servers[-1], name, value)
        monkeypatch.setitem(datasets.PUBLISHED, "mnist", replace(
            datasets.PUBLISHED["mnist"], mirrors=tuple(server.url for server in servers),
            downloads={name: hashlib.md5(data).hexdigest() for name, data in files.items()}))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def good(folder):
    """The download came out right and left nothing else behind."""
    assert sorted(path.name for path in folder.iterdir()) == [IMAGES + ".gz", LABELS + ".gz"]
    found = load("mnist", folder, download=False)
    return (found.images == pictures(200)).all() and (found.labels == labels(200)).all()


@pytest.mark.parametrize("dataset", ["auto", "mnist"])
def test_download_once(tmp_path, mirror, dataset, capsys):
    server = mirror()
    found = load(dataset, tmp_path / "data")
    assert len(found.images) == 200 and not found.fallback and good(tmp_path / "data")
    load(dataset, tmp_path / "data")
    assert len(server.asked) == 2
    lines = capsys.readouterr().err.splitlines()  # no terminal: a plain line a file, no bar
    assert [line.split(".gz")[0] for line in lines] == [f"downloading {LABELS}", f"downloading {IMAGES}"]


def test_download_goes_on_after_cut_connections(tmp_path, mirror):
    server = mirror(cut=40_000)
    load("mnist", tmp_path / "data")
    assert good(tmp_path / "data")
    assert [wanted for name, wanted in server.asked if name.startswith(IMAGES)] == \
        [None, "bytes=40000-", "bytes=80000-", "bytes=120000-"]


def test_download_goes_on_in_the_next_run(tmp_path, mirror):
    server = mirror()
    (tmp_path / "data").mkdir()
    (tmp_path / f"data/{IMAGES}.gz.part").write_bytes(server.files[IMAGES + ".gz"][:1000])
    load("mnist", tmp_path / "data")
    assert good(tmp_path / "data") and (IMAGES + ".gz", "bytes=1000-") in server.asked


def test_a_complete_part_needs_no_server(tmp_path, mirror):
    server = mirror()
    (tmp_path / "data").mkdir()
    for name, data in server.files.items():
        (tmp_path / f"data/{name}.part").write_bytes(data)
    load("mnist", tmp_path / "data")
    assert good(tmp_path / "data") and not server.asked


@pytest.mark.parametrize(("behaviour", "requests"), [
    ({}, {"right": 1, "wrong": 2, "too long": 2}),
    ({"tell_length": False}, {"right": 1, "wrong": 2, "too long": 2}),
    ({"ranges": False}, {"right": 1, "wrong": 1, "too long": 1}),  # Range ignored: all is sent
    ({"ranges": False, "tell_length": False}, {"right": 1, "wrong": 1, "too long": 1}),
    ({"range_shift": 7}, {"right": 2, "wrong": 2, "too long": 2}),  # misunderstood: the md5 tells
])
@pytest.mark.parametrize("part", ["right", "wrong", "too long"])
def test_odd_servers_and_odd_parts(tmp_path, mirror, behaviour, requests, part):
    """What is left of an earlier run fits, or does not; no way round costs more requests than it must."""
    server = mirror(**behaviour)
    data = server.files[IMAGES + ".gz"]
    (tmp_path / "data").mkdir()
    (tmp_path / f"data/{IMAGES}.gz.part").write_bytes(
        {"right": data[:1000], "wrong": bytes(1000), "too long": data + bytes(1000)}[part])
    load("mnist", tmp_path / "data")
    assert good(tmp_path / "data")
    assert [name for name, _ in server.asked].count(IMAGES + ".gz") == requests[part]


def test_wrong_md5_then_the_second_mirror(tmp_path, mirror):
    bad, _ = mirror(), mirror()
    bad.files = {name: b"<html>log in first</html>" for name in bad.files}
    load("mnist", tmp_path / "data")
    assert good(tmp_path / "data")
    assert [name for name, _ in bad.asked] == [LABELS + ".gz"]  # the second file goes to the good one at once


def test_wrong_md5_leaves_nothing_behind(tmp_path, mirror):
    mirror().files = {LABELS + ".gz": b"<html>log in first</html>"}
    with pytest.raises(UserError, match="sent a file with the wrong md5"):
        load("mnist", tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


def test_a_mirror_that_sends_too_much(tmp_path, mirror, monkeypatch):
    for told in (True, False):
        mirror(tell_length=told).files = dict.fromkeys((IMAGES + ".gz", LABELS + ".gz"), bytes(300_000))
    monkeypatch.setitem(datasets.PUBLISHED, "mnist", replace(datasets.PUBLISHED["mnist"], limit=200_000))
    with pytest.raises(UserError, match="sends 300000 bytes.*more than the 200000 bytes"):
        load("mnist", tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


def test_all_mirrors_down(tmp_path, mirror, capsys):
    first, second = mirror(files={}), mirror(files={})
    found = load("auto", tmp_path / "data")
    assert found.fallback and "answers 404" in capsys.readouterr().err
    with pytest.raises(UserError, match=f"answers 404.*{IMAGES}"):
        load("mnist", tmp_path / "data")
    assert len(first.asked) == len(second.asked) == 2  # the first file only, once a load
    assert not (tmp_path / "data").exists()


def test_a_silent_mirror_is_not_waited_for(tmp_path, mirror, monkeypatch):
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.2)
    silent, quick = mirror(delay=1.5), mirror()
    load("mnist", tmp_path / "data")
    assert good(tmp_path / "data") and (len(silent.asked), len(quick.asked)) == (1, 2)
    assert LONGEST_WAIT <= 15  # seconds, when every mirror of a set is silent


def test_two_downloads_at_once(tmp_path, mirror):
    """The second does not write into the first one's file."""
    mirror()
    folder = tmp_path / "data"
    folder.mkdir()
    with FileLock(folder / f".{LABELS}.gz.lock"), pytest.raises(UserError, match="another process is downloading"):
        load("mnist", folder)
    load("mnist", folder)
    assert good(folder)
    assert not list(folder.glob(".*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_disk_is_told_and_not_taken_for_a_dead_mirror(tmp_path, mirror, monkeypatch):
    mirror()
    folder = tmp_path / "data"
    monkeypatch.setattr(download, "no_link", lambda path, flags: os.open("/dev/full", os.O_WRONLY))
    with pytest.raises(UserError, match=r"cannot write .*No space left.*another folder"):
        load("auto", folder)


def test_a_link_under_the_name_of_an_unfinished_download_is_not_followed(tmp_path, mirror):
    mirror()
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "mine").write_text("mine")
    (folder / f"{LABELS}.gz.part").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="cannot write .*symbolic links"):
        load("mnist", folder)
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_folder_that_cannot_be_written(tmp_path, mirror, capsys):
    mirror()
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file/data"
    assert load("auto", folder).fallback and "cannot write" in capsys.readouterr().err
    with pytest.raises(UserError, match="cannot write"):
        load("mnist", folder)


def test_emnist_archive_goes_through_the_same_downloader(tmp_path, mirror, monkeypatch):
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        for path in emnist(tmp_path / "made", "balanced-train"):
            archive.write(path, f"gzip/{path.name}")
    server = mirror(files={"gzip.zip": stored.getvalue()}, cut=20_000)
    monkeypatch.setitem(datasets.PUBLISHED, "emnist", replace(
        datasets.PUBLISHED["emnist"], mirrors=(server.url,),
        downloads={"gzip.zip": hashlib.md5(stored.getvalue()).hexdigest()}))
    assert len(load("emnist", tmp_path / "data").images) == 47
    assert len(server.asked) == 2


def test_a_bar_on_a_terminal(tmp_path, mirror, monkeypatch):
    mirror()
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", screen)
    load("mnist", tmp_path / "data")
    assert "%|" in screen.getvalue() and "downloading" not in screen.getvalue()
