"""What a command says and returns when something goes wrong."""

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import RunStopped, UserError, run_command, terminal

ROOT = Path(__file__).resolve().parents[2]


def raising(error):
    def main():
        raise error
    return main


@pytest.mark.parametrize(("main", "code", "stderr"), [
    (lambda: None, 0, ""),
    (lambda: 3, 3, ""),
    (raising(UserError("no data; fetch some")), 2, "error: no data; fetch some\n"),
    (raising(UserError("no a\nb.png")), 2, "error: no a\\nb.png\n"),
    (raising(RunStopped("a loss is nan")), 1, "a loss is nan\n"),
    (raising(RunStopped("stopped by SIGTERM", exit_code=143)), 143, "stopped by SIGTERM\n"),
    (raising(KeyboardInterrupt()), 130, "interrupted\n"),
    (raising(MemoryError("Unable to allocate 3 TiB")), 2,
     "error: not enough memory (Unable to allocate 3 TiB); ask for fewer or smaller pictures\n"),
])
def test_exit_codes_and_messages(capsys, main, code, stderr):
    assert run_command(main) == code
    assert capsys.readouterr() == ("", stderr)


def test_a_signal_leaves_no_temporary_folder_and_no_trace(tmp_path):
    """Paddle, which has handlers of its own, is there in each process; it is imported once."""
    program = ("import os, signal, sys, tempfile, time\nsys.path.insert(0, sys.argv[1])\n"
               "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # which the caller may ignore, as nohup does
               "from common.backend import runtime\nfrom common.errors import run_command\n"
               "def main():\n    runtime.prepare()\n    for number in (signal.SIGTERM, signal.SIGHUP):\n"
               "        if not (pid := os.fork()):\n            with tempfile.TemporaryDirectory():\n"
               "                os.kill(os.getpid(), number)\n                time.sleep(60)\n"
               "        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)\n"
               "sys.exit(run_command(main))")
    command = subprocess.run([sys.executable, "-c", program, str(ROOT)], capture_output=True, text=True,
                             env={**os.environ, "TMPDIR": str(tmp_path)})
    codes = "".join(f"{128 + number}\n" for number in (signal.SIGTERM, signal.SIGHUP))
    assert (command.returncode, command.stdout, command.stderr) == (0, codes, "")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_the_system_refuses_is_one_line(capsys):
    name = "x" * 300
    assert run_command(lambda: open(name)) == 2  # noqa: SIM115
    assert capsys.readouterr().err == f"error: cannot use {name}: {os.strerror(errno.ENAMETOOLONG)}; check the name " \
                                      "and its permissions\n"
    with pytest.raises(OSError, match="no name"):
        run_command(raising(OSError("no name")))


def test_defects_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 / 0)


def test_a_terminal_without_all_characters_stops_nothing():
    program = ("import sys\nsys.path.insert(0, sys.argv[1])\nfrom common.errors import UserError, run_command\n"
               "def main():\n    print('Pass：0 …')\n    raise UserError('no ｘ')\nsys.exit(run_command(main))")
    command = subprocess.run([sys.executable, "-c", program, str(ROOT)], capture_output=True,
                             env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert (command.stdout, command.stderr) == (b"Pass\\uff1a0 \\u2026\n", b"error: no \\uff58\n")
    assert command.returncode == 2


def test_a_notebooks_output_has_no_encoding_to_change(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # has no `reconfigure`
    monkeypatch.setattr(sys, "stderr", None)
    assert run_command(lambda: 3) == 3


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "0<&- >&- 2>&-"])
def test_without_standard_output_or_error_a_command_does_its_work(tmp_path, closed):
    program = ("import sys\nsys.path.insert(0, sys.argv[1])\nfrom common.errors import *\n"
               "def main():\n    print('out')\n    print('err', file=sys.stderr)\n    announce(['a line'])\n"
               "    with open(sys.argv[2], 'w') as file:\n        assert file.fileno() > 2\n"
               "        file.write(str(terminal()))\n    return 5\nsys.exit(run_command(main))")
    command = ["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-c", program, str(ROOT), str(tmp_path / "file")]
    assert subprocess.run(command, capture_output=True).returncode == 5
    assert (tmp_path / "file").read_text() == "False"


def commands():
    """All commands: the files of the packages and tools that call `run_command`."""
    return sorted(str(path.relative_to(ROOT)) for folder in ("static_mnist", "dygraph_celeba", "tools")
                  for path in (ROOT / folder).glob("*.py") if "sys.exit(run_command(main))" in path.read_text())


@pytest.mark.parametrize("command", commands())
def test_ctrl_c_while_a_command_is_still_importing_is_one_line(tmp_path, command):
    """NumPy's import, or the command's own main where it comes later, is where Ctrl-C strikes."""
    (tmp_path / "numpy.py").write_text("raise KeyboardInterrupt")
    (tmp_path / "argparse.py").write_text("raise KeyboardInterrupt")
    done = subprocess.run([sys.executable, ROOT / command, "--help"], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


@pytest.mark.parametrize("command", commands())
def test_a_package_that_is_not_installed_is_one_line(tmp_path, command):
    """As without the project's environment."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys; sys.path[:] = [each for each in sys.path if '-packages' not in each]")
    done = subprocess.run([sys.executable, ROOT / command], capture_output=True, text=True, cwd=tmp_path, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: the package ")
    assert f"is not installed for {sys.executable}; activate the project's environment" in done.stderr


HELPS = """
import contextlib, io, runpy, sys
for command in sys.argv[1:]:
    sys.argv = [command, "--help"]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        runpy.run_path(command, run_name="__main__")
print(sorted({"paddle", "matplotlib", "scipy", "sklearn", "cv2", "skimage", "PIL"} & set(sys.modules)))
"""


def test_help_waits_for_no_heavy_import():
    """But for the package with a single tutorial, whose help has the tutorial's own options."""
    quick = [command for command in commands() if command != "dygraph_celeba/train.py"]
    done = subprocess.run([sys.executable, "-c", HELPS, *quick], cwd=ROOT, capture_output=True, text=True)
    assert len(quick) > 10 and (done.stdout, done.stderr) == ("[]\n", "")


def test_a_standard_error_that_was_closed_goes_nowhere(monkeypatch):
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    assert not terminal()
    assert run_command(raising(UserError("no data"))) == 2


def test_a_reader_that_goes_away_ends_the_command_in_silence():
    program = ("import sys\nsys.path.insert(0, sys.argv[1])\nfrom common.errors import run_command\n"
               "def main():\n    for _ in range(100000): print('line')\nsys.exit(run_command(main))")
    command = subprocess.Popen([sys.executable, "-c", program, str(ROOT)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    command.stdout.readline()
    command.stdout.close()
    assert command.stderr.read() == b""
    assert command.wait(20) == 141  # as the shell says it of other programs: the work may not be done


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk to be had")
@pytest.mark.parametrize("flush", [True, False])
def test_an_output_on_a_full_disk_is_one_line(flush):
    program = ("import sys\nsys.path.insert(0, sys.argv[1])\nfrom common.errors import run_command\n"
               f"sys.exit(run_command(lambda: print('line', flush={flush})))")
    with open("/dev/full", "w") as full:
        found = subprocess.run([sys.executable, "-c", program, str(ROOT)], stdout=full, stderr=subprocess.PIPE,
                               text=True)
    assert found.returncode == 2
    assert found.stderr == f"error: cannot write the output: {os.strerror(errno.ENOSPC)}; free some space\n"


def test_a_full_quota_is_one_line(capsys):
    assert run_command(raising(OSError(errno.EDQUOT, "Disk quota exceeded"))) == 2
    assert capsys.readouterr().err == "error: cannot write the output: Disk quota exceeded; free some space\n"


def test_a_current_folder_that_is_gone_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert run_command(lambda: print(Path("x").absolute())) == 2
    assert capsys.readouterr() == ("", "error: the current folder is not there any more; go to another one\n")


def test_a_file_where_a_folder_should_be_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert run_command(lambda: (tmp_path / "file").mkdir()) == 2
    assert capsys.readouterr().err.startswith(f"error: cannot use {tmp_path / 'file'}: File exists; check")


def test_an_interactive_session_keeps_its_hook():
    """In a folder of the project, where the empty name of its program would look like a command."""
    root = Path(__file__).resolve().parents[2]
    program = (f"import sys; sys.path.insert(0, {str(root)!r}); import common.errors; "
               "assert sys.excepthook is sys.__excepthook__")
    subprocess.run([sys.executable, "-c", program], cwd=root / "tests" / "common", check=True)
