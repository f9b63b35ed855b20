"""A user's mistake is one line on stderr and exit code 2, never a traceback."""

import contextlib
import errno
import os
import re
import signal
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Errors of the operating system about a path that the user has typed, wherever they are raised
REFUSED = {errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EROFS,
           errno.EEXIST}

NO_ROOM = {errno.ENOSPC, errno.EDQUOT}  # the disk is full, or what the user may have of it
NOBODY_READS = 141  # exit code if nobody reads the output any more, as in `… | head`; the shell's for SIGPIPE

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class UserError(Exception):
    """A mistake that the user can mend. The message says what is wrong and what to do next."""

    exit_code = 2

    def line(self):
        """The message as a command prints it."""
        return f"error: {self}" if self.exit_code == 2 else str(self)

    def _render_traceback_(self):
        """The lines that a notebook shows in place of a traceback."""
        return [self.line()]


class RunStopped(UserError):
    """A run ended early, but not through wrong input: a signal came, or a loss was not a number."""

    def __init__(self, message, exit_code=1):
        super().__init__(message)
        self.exit_code = exit_code


def run_command(main):
    """Call ``main()`` as a command and return its exit code.

    A `UserError`, a path that the operating system refuses, or a lack of memory or disk space becomes one line on
    stderr and an exit code. Ctrl-C becomes 130, the shell's usual code, SIGTERM 143, SIGHUP 129; temporary folders are
    removed.
    Two things do not stop a command. Characters that the terminal or file cannot show are written as escapes. Standard
    output or error may be missing, as under a service, pythonw or ``2>&-``.
    """
    open_streams()
    end_in_order()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's stream has no such method
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main() or 0
        sys.stdout.flush()  # only now a full disk may show
        return code
    except UserError as error:
        say(error.line())
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except BrokenPipeError:  # `… | head`: nothing to tell, but the work may not be done
        sys.stderr.close()
        return NOBODY_READS
    except MemoryError as error:
        say(f"error: not enough memory ({str(error) or 'the system gives no more'}); ask for fewer or smaller pictures")
        return 2
    except OSError as error:
        if error.errno in NO_ROOM:
            say(f"error: cannot write {error.filename or 'the output'}: {error.strerror}; free some space")
            nowhere(sys.stdout)
            return 2
        if error.errno == errno.ENOENT and error.filename is None:  # `os.getcwd` raises it
            say("error: the current folder is not there any more; go to another one")
            return 2
        if error.errno not in REFUSED or error.filename is None:
            raise
        say(f"error: cannot use {error.filename}: {error.strerror}; check the name and its permissions")
        return 2


def signals(*names):
    """The signals of these names; Windows has no SIGHUP."""
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def end_in_order():
    """Let SIGTERM and SIGHUP end the process as an exception does, unless they are ignored or have other handlers."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in signals("SIGTERM", "SIGHUP"):
        if signal.getsignal(number) in (signal.SIG_DFL, leave):
            signal.signal(number, leave)


def leave(number, _frame):
    """The handler of `end_in_order`."""
    sys.exit(128 + number)


def ended_early(kind, error, trace):
    """``sys.excepthook`` of a command: it names a missing package in one line.

    While the command is still importing, Ctrl-C ends it with the same code as in `run_command`.
    """
    missing = isinstance(error, ModuleNotFoundError) and error.name
    if missing and find_spec(missing.partition(".")[0]) is None:
        open_streams()
        say(f"error: the package {missing} is not installed for {sys.executable}; activate the project's "
            "environment (. .venv/bin/activate), or pip install -r requirements.txt")
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(2)
    cause = error
    while cause and not isinstance(cause, KeyboardInterrupt):  # an import may turn it into an error of its own
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        sys.__excepthook__(kind, error, trace)
        return
    open_streams()
    say("interrupted")
    os._exit(130)  # nothing has been done yet; a hook cannot set the exit code


# Only if the program that runs is a command of this project. Any other program that imports this file keeps its hook.
_program = getattr(sys.modules["__main__"], "__file__", None)  # an interactive session has none
if _program and Path(_program).resolve().parent.parent == ROOT:
    sys.excepthook = ended_early


def open_streams():
    """Send standard output and error to the null device if they are missing or closed.

    The file descriptors 0 to 2 are opened too. Otherwise the next file to be opened could get number 2, and a library's
    messages to standard error would go into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            if os.open(os.devnull, os.O_RDWR) == number:  # `open` takes the lowest free number
                os.set_inheritable(number, True)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None or getattr(getattr(sys, name), "closed", False):
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  until the process ends


def terminal():
    """Whether standard error is there and is a terminal."""
    return sys.stderr is not None and not getattr(sys.stderr, "closed", False) and sys.stderr.isatty()


def printable(text):
    """A text with escapes for control characters: a name from outside could have a line feed or steer the terminal."""
    return CONTROL.sub(lambda sign: repr(sign[0])[1:-1], text)


def say(text):
    """Print one line to stderr, if it can still be written."""
    try:
        print(printable(text), file=sys.stderr, flush=True)
    except OSError:  # the reader has ended, or the terminal is closed
        nowhere(sys.stderr)


def nowhere(stream):
    """Send the unwritten rest of a stream to the null device."""
    with contextlib.suppress(OSError):  # a notebook's stream has no file descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def announce(lines):
    """Print lines on stderr, in a box."""
    width = max(map(len, lines))
    edge = "+" + "-" * (width + 2) + "+"
    print(edge, *(f"| {line:<{width}} |" for line in lines), edge, sep="\n", file=sys.stderr, flush=True)
