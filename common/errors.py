"""A user's mistake is one line on stderr and exit code 2, never a traceback."""

import sys


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

    A `UserError` becomes one line on stderr and its exit code, so does a file that the system refuses; Ctrl-C becomes
    130, the shell's usual code.
    Characters that the terminal or file cannot take are written as escapes, not a reason to stop.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's has not, and a closed one is None
            stream.reconfigure(errors="backslashreplace")
    try:
        return main() or 0
    except UserError as error:
        text = str(error).replace("\n", "\\n")  # a file's name may hold one
        print(f"error: {text}" if error.exit_code == 2 else text, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `… | head`: the reader has gone, which is no error of ours
        sys.stderr.close()
        return 0
    except OSError as error:  # a name that is too long, a folder that may not be entered, anywhere
        if error.filename is None:
            raise
        name = str(error.filename).replace("\n", "\\n")
        print(f"error: cannot use {name}: {error.strerror}; check the name and its permissions", file=sys.stderr)
        return 2
