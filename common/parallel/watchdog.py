"""A small process that watches a machine's training processes: if one dies, it says so in one line and ends the others.

It is a process of its own because the processes that it watches may be stuck: a thread of gloo aborts its process
when a connection breaks, and NCCL waits for ever. It needs nothing but Python's library and Linux's pidfds, and
starts as a script: ``watchdog.py FOLDER LAUNCHER COUNT RANK:PID …``.
"""

import contextlib
import os
import select
import shutil
import signal
import sys
from pathlib import Path

LEFT = "left {}"  # a file of this name in FOLDER: the process of that rank has ended, or will end, in order


def possible():
    """Whether processes can be watched: Python and the kernel have pidfds, and a sandbox does not forbid them."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def terminal(launcher, number):
    """The launcher's standard output (1) or error (2), if it is a terminal or a pipe; else None.

    The launcher gives its processes files in place of a terminal, and copies the first one's file to its own terminal
    every few seconds. Output that is written there directly appears at
    once: the bar moves, and the last line is not lost.
    """
    path = Path(f"/proc/{launcher}/fd/{number}")
    with contextlib.suppress(OSError):
        if launcher and not path.is_file():
            return os.open(path, os.O_WRONLY | os.O_NOCTTY)
    return None


def speak(launcher, text):
    """Print a line on the launcher's terminal, or else on this process's standard error."""
    found = terminal(launcher, 2)
    target = 2 if found is None else found
    with contextlib.suppress(OSError):
        os.write(target, ("\n" * os.isatty(target) + text + "\n").encode())  # below the bar


def watch(folder, launcher, count, pids):
    """Watch processes until all have ended.

    Args:
        folder: of the files `LEFT`.
        launcher: its pid; 0 if there is none.
        count: of the processes on all machines.
        pids: rank → pid.
    """
    fds = {os.pidfd_open(pid): rank for rank, pid in pids.items()}
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    above = None
    if launcher:
        with contextlib.suppress(OSError):
            above = os.pidfd_open(launcher)
            poll.register(above, select.POLLIN)
    while fds:
        ended = [fd for fd, _ in poll.poll()]
        for fd in ended:
            poll.unregister(fd)
        if above in ended:  # the launcher was killed: the others save and end
            end(fds, signal.SIGTERM)
        ranks = [fds.pop(fd) for fd in ended if fd in fds]
        if dead := [rank for rank in ranks if not (folder / LEFT.format(rank)).exists()]:
            names = ", ".join(f"process {rank} (pid {pids[rank]})" for rank in dead)
            cause = "killed or out of memory" + (", or lost another machine" if len(pids) < count else "")
            speak(launcher, f"{names} of {count} died, {cause}: all have ended; go on with --resume")
            end(fds, signal.SIGKILL)
            return


def end(fds, number):
    """Send a signal to processes."""
    for fd in fds:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(fd, number)


if __name__ == "__main__":
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):  # they are for those it watches
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    place, parent, total, *watched = sys.argv[1:]
    try:
        watch(Path(place), int(parent), int(total), dict(tuple(map(int, each.split(":"))) for each in watched))
    finally:
        shutil.rmtree(place, ignore_errors=True)
