"""A user's mistake is one line on stderr and exit code 2, never a traceback."""

import contextlib
import errno
import sys

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
    Characters that the terminal or file cannot take are written as escapes, not a reason to stop.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's has not, and a closed one is None
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


def say(text):
    """Print one line to stderr, where there is anybody to read it."""
    with contextlib.suppress(BrokenPipeError):
        print(text.replace("\n", "\\n"), file=sys.stderr, flush=True)  # a file's name may hold a line's end


def announce(lines):
    """Print lines on stderr, in a box."""
    width = max(map(len, lines))
    edge = "+" + "-" * (width + 2) + "+"
    print(edge, *(f"| {line:<{width}} |" for line in lines), edge, sep="\n", file=sys.stderr, flush=True)
