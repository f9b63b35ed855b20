"""The page to play with: its pictures, and the page itself in a browser that may talk to nobody else."""

import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from types import SimpleNamespace

import numpy as np
import pytest

from common import load
from common.errors import ROOT, UserError
from tools import explore

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.parametrize("kind", ["book_run", "digits_run", "faces_run"])
def test_pictures(request, kind):
    pictures = explore.Pictures(load(request.getfixturevalue(kind), fix=None))
    label = "3" if pictures.gan.classes else None

    def draw(what, scale=1.0, seed=1, **more):
        return np.asarray(pictures.draw(what, label, scale, seed, **more)).astype(int)

    one = draw(explore.ONE)
    assert one.shape[:2] == ((576, 576) if kind == "faces_run" else (588, 588))
    assert np.array_equal(one, draw(explore.ONE)) and not np.array_equal(one, draw(explore.ONE, seed=2))
    assert np.array_equal(draw(explore.ONE, 0.0), draw(explore.ONE, 0.0, seed=2))  # no noise: always the same
    assert draw(explore.MANY, count=9).shape != draw(explore.MANY, count=50).shape
    start, end = (draw(explore.WALK, other=2, position=position) for position in (0.0, 1.0))
    left = (start.shape[1] - one.shape[1]) // 2
    for large, seed in ((start, 1), (end, 2)):
        np.testing.assert_allclose(large[:len(one), left:left + len(one)], draw(explore.ONE, seed=seed), atol=1)


def test_labels_are_not_scaled(digits_run):
    gan = load(digits_run, fix=None)
    noise = explore.Pictures(gan).noise(1, 12, 0.0, explore.EVERY)
    np.testing.assert_array_equal(noise[:, -10:].argmax(1), np.arange(12) % 10)
    assert noise[:, -10:].sum() == 12 and not noise[:, :-10].any()
    alone, among = (gan.sample(part)[0] for part in (noise[:1], noise))
    np.testing.assert_allclose(alone, among, atol=1e-5)  # no dropout, no statistics of the batch


@pytest.mark.parametrize(("argv", "message"), [
    ([], "say --run DIR or --pretrained NAME; "), (["--run", "a", "--pretrained", "cgan"], "not both"),
    (["--pretrained", "cgan", "--checkpoint", "x"], "--checkpoint is for --run"), (["--run", "nowhere"], "no run in"),
    (["--pretrained", "cgan", "--port", "99999"], "not a whole number from 1 to 65535")])
def test_refusals(argv, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(explore, "gradio", lambda: None)
    with pytest.raises(UserError, match=re.escape(message)):
        explore.main(argv)


def test_a_port_that_is_taken_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}: .*; choose another one"):
            explore.main(["--run", "a", "--port", str(port)])


def test_without_gradio_it_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(UserError, match=r"pip install -r requirements-optional\.txt"):
        explore.main(["--run", "a"])


def test_an_old_gradio_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", SimpleNamespace(__version__="5.49.1"))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(UserError, match=r"gradio 6 or newer, this is 5\.49\.1; "
                                        r"pip install -r requirements-optional\.txt"):
        explore.main(["--run", "a"])


# Notes each address outside of this computer that the server asks for
SPY = """
import os, sys
def note(event, args):
    if event == "socket.getaddrinfo" and args[0] not in (None, "127.0.0.1", b"127.0.0.1", "localhost", "0.0.0.0"):
        open(os.environ["SPY"], "a").write(f"{args[0]}\\n")
    if event == "socket.connect" and isinstance(args[1], tuple) and args[1][0] != "127.0.0.1":
        open(os.environ["SPY"], "a").write(f"{args[1]}\\n")
sys.addaudithook(note)
"""


@pytest.fixture
def server(digits_run, tmp_path):
    """The address of a page of a trained run; `tmp_path`/asked has what its server has asked for outside."""
    pytest.importorskip("gradio")
    (tmp_path / "spy").mkdir()
    (tmp_path / "spy/sitecustomize.py").write_text(SPY)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, ROOT / "tools/explore.py", "--run", digits_run, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={
        **os.environ, "PYTHONPATH": str(tmp_path / "spy"), "SPY": str(tmp_path / "asked"), "TMPDIR": str(tmp_path)})
    address = process.stdout.readline().split()[0]
    yield address
    process.terminate()
    assert process.wait(60) == 143
    assert not [path for path in tmp_path.glob("tmp*") if path.is_dir()]  # the folder of the pictures is gone


def test_only_this_computers_own_page_is_answered(server):
    """Under another name a web page elsewhere could read this one (DNS rebinding), or fill the disk."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def status(path="/", host=None, data=None, **headers):
        request = urllib.request.Request(server + path, data, headers | ({"Host": host} if host else {}))
        try:
            return direct.open(request, timeout=60).status
        except urllib.error.HTTPError as error:
            return error.code

    assert status() == 200 and status(host="evil.example:7860") == 400
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n%s\r\n--x--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert status("/gradio_api/upload", data=body % (b"0" * 5000), **kind) == 413


@pytest.mark.skipif(not BROWSER, reason="there is no Chromium")
def test_in_a_browser_a_click_draws_and_nobody_outside_is_asked(server, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")

    outside = []
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()

        def guard(route):
            if route.request.url.startswith(server):
                route.continue_()
            else:
                outside.append(route.request.url)
                route.abort()

        page.route("**/*", guard)
        page.set_default_timeout(120_000)
        page.goto(server)
        image = page.locator("#picture img")
        image.wait_for()

        def after(act):
            """The picture that an action brings: its address and its width in pixels."""
            before = image.get_attribute("src")
            act()
            page.wait_for_function("""before => [...document.querySelectorAll("#picture img")].some(
                image => image.src != before && image.naturalWidth)""", arg=before)
            return image.get_attribute("src"), image.evaluate("image => image.naturalWidth")

        assert after(page.locator("#another").click)[1] == 588
        assert page.get_by_label("seed 随机种子").input_value() == "2"
        assert after(page.get_by_label(explore.MANY).click)[1] != 588
        after(page.get_by_label(explore.WALK).click)
        assert page.get_by_label("seed at the end 终点的种子").is_visible()
        with page.expect_download() as download:
            page.locator("#picture [aria-label=Download], #picture [title=Download]").first.click()
        assert download.value.suggested_filename.endswith(".png")
        assert download.value.path().read_bytes().startswith(b"\x89PNG")
        browser.close()
    assert outside == []
    assert not (tmp_path / "asked").exists(), (tmp_path / "asked").read_text()
