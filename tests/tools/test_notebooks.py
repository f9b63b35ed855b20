"""The notebooks run from top to bottom without data and without a network, and a kernel is a good place to train in."""

import json
import re
import subprocess
import sys
import time

import pytest

from common.errors import ROOT, UserError
from common.recipe import names
from dygraph_celeba import data
from tools import notebooks


def packages():
    for package in ("nbformat", "nbclient", "ipykernel"):
        pytest.importorskip(package)


def shown(cell):
    """The kinds of output of a cell, such as image/png."""
    return {kind for output in cell["outputs"] for kind in output.get("data", {})}


def told(cells):
    """What the cells show that show source, or the table of oddities."""
    return ["".join(output["data"]["text/markdown"]) for cell in cells if cell["cell_type"] == "code"
            and "".join(cell["source"]).startswith(("source(", "oddities(")) for output in cell["outputs"]
            if "text/markdown" in output.get("data", {})]


@pytest.mark.parametrize("name", names())
def test_every_cell_runs(name, tmp_path, monkeypatch):
    packages()
    made = notebooks.notebook(name)
    if name == "faces":  # fewer embedded faces, which the kernel finds
        monkeypatch.setattr(data, "VARIANTS", 2)
        data.embedded_faces()
    [cell] = [cell for cell in made.cells if cell.cell_type == "code" and "ARGV =" in cell.source]
    size = 64 if name == "note6" else 8  # note 6 shows 64 pictures of a batch
    cell.source = cell.source.replace("ARGV = [", f"ARGV = ['--batch_size', '{size}', ")
    # Before the cell's own lines, of which the last may be what it shows
    cell.source = "import os; os.fsync = lambda handle: None  # as in conftest.py\n" + cell.source
    if name == "cgan":  # smaller batches to draw, too
        cell.source = "from static_mnist import conditional; conditional.MOST = 100\n" + cell.source
    notebooks.execute(made, tmp_path / "output", STEPS=1)
    code = [cell for cell in made.cells if cell.cell_type == "code"]
    assert sum(any(kind.startswith("image/") for kind in shown(cell)) for cell in code) >= 5
    assert len(told(made.cells)) >= 5
    stored = json.loads((notebooks.FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert told(made.cells) == told(stored["cells"]), "python tools/notebooks.py makes the notebooks anew"
    assert (tmp_path / "output/report.html").is_file()
    assert str(tmp_path) not in json.dumps(made) and str(ROOT) not in json.dumps(made)


@pytest.mark.parametrize("name", names())
def test_the_files_are_of_the_present_text_and_small(name):
    text = (notebooks.FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert len(text.encode()) < notebooks.MOST
    found = json.loads(text)["cells"]
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in found] == list(notebooks.cells(name)), \
        "python tools/notebooks.py makes the notebooks anew"
    outputs = [output for cell in found if cell["cell_type"] == "code" for output in cell["outputs"]]
    assert outputs and not any(output["output_type"] == "error" for output in outputs)
    both = [cell for cell in found if cell["cell_type"] == "markdown" and len("".join(cell["source"])) > 200]
    assert both and all(re.search("[一-鿿]", "".join(cell["source"])) for cell in both[:-1])  # the last: references


def test_without_the_packages_it_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "nbclient", None)
    for argv in ([], ["book"]):
        with pytest.raises(UserError, match="pip install nbformat nbclient ipykernel"):
            notebooks.main(argv)
    with pytest.raises(UserError, match="'books' is none of book, note6"):
        notebooks.main(["books"])


def test_the_first_cell_clones_and_installs(tmp_path):
    packages()
    if not (ROOT / ".git").exists():
        pytest.skip("this copy of the project cannot be cloned")
    code = next(text for kind, text in notebooks.cells("book") if kind == "code")
    alone = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert alone.returncode == 1 and "fill in REPOSITORY" in alone.stderr and not list(tmp_path.iterdir())
    code = code.replace('REPOSITORY = ""', f"REPOSITORY = {str(ROOT)!r}") + "\nprint(oddities.__doc__, Path.cwd())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == str(tmp_path / "gan-tutorials")


@pytest.fixture
def kernel():
    """(its manager, a function that runs code in it and yields the messages about it)."""
    packages()
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(startup_timeout=300, extra_arguments=["--IPKernelApp.log_level=40"], cwd=ROOT)

    def run(code):
        wanted = client.execute(code)
        while True:
            message = client.get_iopub_msg(timeout=300)
            if message["parent_header"].get("msg_id") == wanted:
                yield message["header"]["msg_type"], message["content"]
                if message["content"].get("execution_state") == "idle":
                    return

    yield manager, run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_a_kernel_shows_one_bar_and_its_stop_button_saves(kernel, tmp_path):
    manager, run = kernel
    setup = ("import sys; sys.path.insert(0, ''); from static_mnist import book, train; import matplotlib; "
             "book.gf_dim = book.df_dim = 4; book.gfc_dim, book.dfc_dim = 64, 32; ")  # small networks
    argv = ["--dataset", "digits", "--batch_size", "16", "--output", str(tmp_path / "run")]
    messages = list(run(setup + f"train.main({argv + ['--max_steps', '3']})"))
    kinds = [kind for kind, _ in messages]
    assert "error" not in kinds, messages
    assert kinds.count("display_data") == 1  # the bar, which is changed in its place
    assert "batch 3/112" in [content for kind, content in messages if kind == "update_display_data"][-1]["data"][
        "text/plain"]
    printed = "".join(content["text"] for kind, content in messages if kind == "stream" and content["name"] == "stdout")
    assert "Epoch ID" not in printed and printed.splitlines()[-1].startswith("done: 3 steps")

    [mistake] = [content for kind, content in run(f"train.main({argv})") if kind == "error"]
    assert len(mistake["traceback"]) == 1 and mistake["traceback"][0].startswith("error: ")

    stopped = []
    for kind, content in run(f"train.main({argv + ['--overwrite']})"):
        if kind == "update_display_data" and "batch" in content["data"]["text/plain"] and not stopped:
            stopped.append(time.monotonic())
            manager.interrupt_kernel()
        if kind == "error":
            stopped.append(content)
    assert stopped[1]["ename"] == "RunStopped" and "go on with --resume" in stopped[1]["traceback"][0]
    assert len(list((tmp_path / "run/checkpoints").glob("*.safetensors"))) == 1
    messages = list(run("print(matplotlib.rcParams['backend'], 'matplotlib.pyplot' in sys.modules)"))
    assert ("stream", {"name": "stdout", "text": "module://matplotlib_inline.backend_inline False\n"}) in messages
