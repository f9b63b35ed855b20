"""A user's mistake is one line on stderr and exit code 2, never a traceback."""

import contextlib
import errno
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# What the system says of a name that a user has typed, wherever it comes up
REFUSED = {errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EROFS}


class UserError(Exception):
    """Something that the user can mend. The message says what is wrong and what to do next."""

    exit_code = 2


class RunStopped(UserError):
    """A run that ended before its time, through nobody's wrong input: a signal, a loss that is not a number."""

    def __init__(self, message, exit_code=1):
        super().__init__(message)
        self.exit_code = exit_code


def run_command(main):
    """Call ``main()`` as a command and return its exit code.

    A `UserError` becomes one line on stderr and its exit code, so does a name that the system refuses; Ctrl-C becomes
    130, the shell's usual code.
    Characters that the terminal or file cannot take are written as escapes, not a reason to stop. Nor is a missing
    standard output or error, as a service, pythonw or ``2>&-`` starts a program.
    """
    open_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's has not
            stream.reconfigure(errors="backslashreplace")
    try:
        return main() or 0
    except UserError as error:
        say(f"error: {error}" if error.exit_code == 2 else str(error))
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except BrokenPipeError:  # `… | head`: the reader has gone, which is no error of ours
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in REFUSED or error.filename is None:
            raise
        say(f"error: cannot use {error.filename}: {error.strerror}; check the name and its permissions")
        return 2


def interrupted_early(kind, error, trace):
    """``sys.excepthook`` of a command that is still importing: Ctrl-C ends it as `run_command` would."""
    cause = error
    while cause and not isinstance(cause, KeyboardInterrupt):  # an import may turn it into an error of its own
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        sys.__excepthook__(kind, error, trace)
        return
    open_streams()
    say("interrupted")
    os._exit(130)  # nothing has been done yet; a hook cannot set the exit code


# Only where a command of this project is what runs: whoever imports this file keeps the hook.
if Path(getattr(sys.modules["__main__"], "__file__", None) or "").resolve().parent.parent == ROOT:
    sys.excepthook = interrupted_early


def open_streams():
    """Let standard output and error, where they are missing or closed, go nowhere.

    The numbers 0 to 2 are taken up, too: the next file to be opened would get one, and what a library writes to
    number 2 would go into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            if os.open(os.devnull, os.O_RDWR) == number:  # the lowest that is free
                os.set_inheritable(number, True)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None or getattr(getattr(sys, name), "closed", False):
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  until the process ends


def terminal():
    """Whether somebody looks at standard error: it is there, and a terminal."""
    return sys.stderr is not None and not getattr(sys.stderr, "closed", False) and sys.stderr.isatty()


def say(text):
    """Print one line to stderr, where there is anybody to read it."""
    try:
        print(text.replace("\n", "\\n"), file=sys.stderr, flush=True)  # a file's name may hold a line's end
    except OSError:  # the reader, or the terminal, has gone
        nowhere(sys.stderr)


def nowhere(stream):
    """Let what is still to be written to a stream go nowhere."""
    with contextlib.suppress(OSError):  # a notebook's has no number
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def announce(lines):
    """Print lines on stderr, in a box."""
    width = max(map(len, lines))
    edge = "+" + "-" * (width + 2) + "+"
    print(edge, *(f"| {line:<{width}} |" for line in lines), edge, sep="\n", file=sys.stderr, flush=True)
