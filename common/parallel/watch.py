"""A process looks after the others: if one dies, or ends early, all end, and one of them says why in one line."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from common.parallel import processes, watchdog

LOOK = 0.5  # seconds between two looks at the message of another process
LINGER = 1.5  # seconds for which an error is left to the process that has to print it
PATIENCE = 10  # seconds for which a process waits for another one, before it takes the other one for gone
LOST = (RuntimeError, ValueError, OSError)  # what Paddle's store raises when process 0, which holds it, has ended


class Watch(threading.Thread):
    """What a process knows of the others, by way of Paddle's store, which process 0 holds.

    A process that ends early leaves its exit code in the store, where a thread of each other one looks twice a second,
    also while the main thread waits. A process that dies is seen by `common.parallel.watchdog`.

    Args:
        rank, count: of this process, and of all.
        rank_here, count_here: the same on this machine.
    """

    def __init__(self, rank, count, rank_here, count_here):
        super().__init__(daemon=True)
        from paddle.base import core

        self.rank, self.count, self.machine, self.over = rank, count, rank - rank_here, False
        self.store, self.lock = core.create_or_get_global_tcp_store(), threading.Lock()
        outlast_gloo()
        watched = watchdog.possible()  # only the watching process would remove the folder
        # This process takes the name from here, not from the store: others could write there, and the folder is removed
        if rank == self.machine:
            self.folder = Path(tempfile.mkdtemp(prefix="processes-") if watched else os.devnull)
            self.store.set(f"folder {self.machine}", str(self.folder))
        else:
            self.folder = Path(self.store.get(f"folder {self.machine}").decode())
        if watched:
            tempfile.tempdir = str(self.folder)  # `exit` cleans nothing up, so all temporary folders go with this one
        self.store.set(f"pid {rank}", str(os.getpid()))
        if rank == self.machine and watched:
            pids = [f"{each}:{self.store.get(f'pid {each}').decode()}" for each in range(rank, rank + count_here)]
            about = [str(self.folder), str(launcher()), str(count), *pids]
            subprocess.Popen([sys.executable, "-I", "-S", watchdog.__file__, *about], stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL)
        self.start()

    def add(self, key, number):
        """Add to a number that all processes share, and return the sum. 0 only reads it."""
        with self.alone():
            return self.store.add(key, number)

    @contextlib.contextmanager
    def alone(self):
        """A context in which the store's connection is this thread's: a signal would break off an answer half way."""
        with processes.withheld(processes.SIGNALS), self.lock:
            yield

    def run(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, processes.SIGNALS)
        while not self.over:
            time.sleep(LOOK)
            with contextlib.suppress(LOST):  # process 0 has died; if that was on another machine, gloo finds it out
                self.follow()

    def follow(self):
        """End this process if another one has ended early. On another machine, its message is printed here, too."""
        if code := self.add("ended", 0):
            with self.alone():
                machine, reason = self.store.get("reason").decode().split(" ", 1)
            if self.rank == self.machine != int(machine):
                watchdog.speak(launcher(), reason)
            self.stop(2 * LINGER)
            os._exit(code)

    def claim(self, code, reason):
        """Whether this process is the first to end early, and so the one that says why; the others end by ``code``."""
        with contextlib.suppress(LOST):
            if self.add("claimed", 1) > 1:
                return False
            with self.alone():
                text = f"{self.machine} {reason}".encode(errors="replace").decode()  # a path's name may be no UTF-8
                self.store.set("reason", text)
            self.add("ended", code)
        return True

    def stop(self, patience=PATIENCE):
        """Stop watching, before an orderly end. Process 0, whose store all use, goes last, or after ``patience`` s."""
        if self.over:
            return
        self.over = True
        with contextlib.suppress(OSError):
            (self.folder / watchdog.LEFT.format(self.rank)).touch()
        with contextlib.suppress(LOST):
            left, end = self.add("left", int(self.rank > 0)), time.monotonic() + patience
            while self.rank == 0 and left < self.count - 1 and time.monotonic() < end:
                time.sleep(0.05)
                left = self.add("left", 0)

    def exit(self, code):
        """End this process now. At Python's own end the threads of gloo and of the store would abort it."""
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def outlast_gloo():
    """Let `abort` wait six seconds, in which `common.parallel.watchdog` sees who has died first.

    Gloo aborts a process when the connection to another one is reset. The C library's ``sleep`` handles the signal; it
    takes the signal's number, 6, for seconds.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.signal.argtypes = ctypes.c_int, ctypes.c_void_p
        libc.signal(int(signal.SIGABRT), ctypes.cast(libc.sleep, ctypes.c_void_p))


def launcher():
    """The pid of ``paddle.distributed.launch``; 0 if it has not started this process."""
    return os.getppid() if processes.launched() else 0


def to_terminal():
    """Let this process's output go to the launcher's terminal, see `watchdog.terminal`."""
    for number, name in ((1, "stdout"), (2, "stderr")):  # what libraries write to 1 and 2 stays in the launcher's file
        found = watchdog.terminal(launcher(), number)
        setattr(sys, name, open(number if found is None else found, "w", buffering=1,  # noqa: SIM115  until the end
                                errors="backslashreplace"))  # as in `errors.run_command`


def silence():
    """Let nothing that Python prints in this process be seen from now on."""
    sys.stdout.flush()
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  until the process ends
