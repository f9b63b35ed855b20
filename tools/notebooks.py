"""Make the notebooks of docs/notebooks anew: from their text, and with the output of every cell.

    python tools/notebooks.py
    python tools/notebooks.py cgan

docs/notebooks/text/NAME.md is the one home of a notebook's text and code: each fenced block is a code cell.
"""

import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.errors import ROOT, UserError, run_command, terminal
from common.files import replacing
from common.recipe import names
from common.training.options import Parser

FOLDER = ROOT / "docs" / "notebooks"
CODE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SECONDS = 600  # for one cell
MOST = 1.5e6  # bytes of a notebook


def cells(name):
    """The cells of a notebook: ("markdown" or "code", text)."""
    text = (FOLDER / "text" / f"{name}.md").read_text(encoding="utf-8")
    text = text.replace("{{setup}}", (FOLDER / "text" / "setup.md").read_text(encoding="utf-8"))
    for number, part in enumerate(CODE.split(text)):
        if part := part.strip():
            yield "code" if number % 2 else "markdown", part


def notebook(name):
    """A notebook without output, as ``nbformat`` has it.

    Raises:
        UserError: the packages are not installed.
    """
    try:
        import nbclient  # noqa: F401
        from ipykernel import kernelspec  # noqa: F401
        from nbformat import v4
    except ImportError as error:
        raise UserError(f"notebooks want the package {error.name}, which is not installed; "
                        "pip install nbformat nbclient ipykernel") from None
    made = [v4.new_code_cell(text) if kind == "code" else v4.new_markdown_cell(text) for kind, text in cells(name)]
    for number, cell in enumerate(made):
        cell["id"] = f"{name}-{number}"  # nbformat's own are random, and would change with each call
    return v4.new_notebook(cells=made, metadata={"kernelspec": {
        "name": "python3", "display_name": "Python 3", "language": "python"}, "language_info": {"name": "python"}})


def client(made, folder=FOLDER):
    """A ``nbclient.NotebookClient`` that executes a notebook with this interpreter, in a folder."""
    from nbclient import NotebookClient

    return NotebookClient(made, timeout=SECONDS, startup_timeout=SECONDS, resources={"metadata": {"path": str(folder)}},
                          kernel_name="python3", extra_arguments=["--IPKernelApp.log_level=40"], record_timing=False)


def execute(made, output, **parameters):
    """Run all cells of a notebook and keep what they show.

    Args:
        made: the notebook. The output of its cells is set.
        output: folder for the run that the notebook trains, in place of its OUTPUT.
        parameters: other values than the notebook's own, such as ``STEPS=2``.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell has failed.
    """
    from nbformat import v4

    values = {"OUTPUT": str(output), **parameters}
    place = next(number for number, cell in enumerate(made.cells) if cell.source.startswith("STEPS ="))
    other = v4.new_code_cell("\n".join(f"{name} = {value!r}" for name, value in values.items()))
    made.cells.insert(place + 1, other)
    try:
        client(made).execute()
    finally:
        made.cells.remove(other)
    count = 0
    for cell in made.cells:
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            for shown in cell.outputs:
                if "execution_count" in shown:
                    shown["execution_count"] = count
                tidy(shown, {str(output): Path(output).name, str(ROOT): "."})


def tidy(shown, places):
    """Change one output of a cell: one form of a picture is enough, and nobody needs the folders of this computer.

    Args:
        shown: the output.
        places: folder → what is written for it.
    """
    data = shown.get("data", {})
    if pictures := [kind for kind in data if kind.startswith("image/")]:
        smallest = min(pictures, key=lambda kind: len(data[kind]))
        shown["data"] = {smallest: data[smallest], "text/plain": "<picture>"}
    for holder, key in ((shown, "text"), (data, "text/plain"), (data, "text/markdown")):
        for place, name in places.items():
            if key in holder:
                holder[key] = holder[key].replace(place, name)


def main(argv=None):
    """Run the command; raises `UserError`."""
    parser = Parser(prog="notebooks.py", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", default=[],
                        help=f"of a notebook: {', '.join(names())} (default: all)")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.names if name not in names()]:
        parser.error(f"argument NAME: {unknown[0]!r} is none of {', '.join(names())}")
    for name in args.names or names():
        made = notebook(name)
        import nbformat
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

        if terminal():
            print(f"{name}: a minute or two", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            try:
                execute(made, Path(folder).resolve() / f"output_notebook_{name}")
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                why = f"{error.ename}: {error.evalue}" if isinstance(error, CellExecutionError) else str(error)
                raise UserError(f"{name}: a cell fails; the notebook stays as it was: {why.strip().splitlines()[0]}") \
                    from error
        text = nbformat.writes(made) + "\n"
        if len(text) > MOST:
            raise UserError(f"{name}: {len(text) / 1e6:.1f} MB are more than {MOST / 1e6} MB; show smaller pictures")
        path = FOLDER / f"{name}.ipynb"
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {len(text) / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(run_command(main))
