"""A process looks after the others: if one dies, or ends early, all end, and one of them says why in one line."""

import contextlib
import ctypes
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path

from common.backend import processes

SIGNALS = signal.valid_signals() - {signal.SIGABRT}  # they are for the main thread; see `outlast_gloo` for SIGABRT
LOOK = 0.5  # seconds between two looks at the message of another machine's process
ANSWER = 0.8  # seconds that the store has to answer; a process that was killed may leave it waiting for its word's rest
LINGER = 1.5  # seconds that a process stays after it has seen a death, so that all see who is alive
PATIENCE = 10  # seconds for which an error is left to the process that has to print it
LOST = (RuntimeError, ValueError, OSError)  # what Paddle's store raises when process 0, which holds it, has ended


class Watch(threading.Thread):
    """Watches the other processes in a thread of its own, also while the main thread waits for them.

    A process of the same machine is watched by its pidfd, where Linux has that; one that was killed is seen at once. A
    process that ends early leaves its exit code in Paddle's store, where all others look twice a second.

    Args:
        rank, count: of this process, and of all.
        rank_here, count_here: the same on this machine.
    """

    def __init__(self, rank, count, rank_here, count_here):
        super().__init__(daemon=True)
        self.rank, self.count, self.rank_here = rank, count, rank_here
        from paddle.base import core

        self.store, self.lock = core.create_or_get_global_tcp_store(), threading.Lock()
        self.over = self.mourning = False
        outlast_gloo()
        self.store.set(f"pid {rank}", str(os.getpid()))
        self.siblings = {}  # rank → (pid, pidfd), of this machine
        for other in range(rank - rank_here, rank - rank_here + count_here):
            if other != rank:
                pid = int(self.store.get(f"pid {other}"))
                with contextlib.suppress(AttributeError, OSError):  # Linux 5.3
                    self.siblings[other] = pid, os.pidfd_open(pid)
        self.launcher = None
        if processes.launched():
            with contextlib.suppress(AttributeError, OSError):
                self.launcher = os.pidfd_open(os.getppid())
        self.start()

    def ends_this(self, seconds):
        """Give `Watch` time to end this process, if another one's death or error is the cause of its own error."""
        while seconds > 0 or self.mourning:
            time.sleep(0.1)
            seconds -= 0.1

    def add(self, key, number):
        """Add to a number that all processes share, and return the sum. 0 only reads it."""
        with self.alone():
            return self.store.add(key, number)

    @contextlib.contextmanager
    def alone(self):
        """A context in which the store's connection is this thread's: a signal would break off an answer half way."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            with self.lock:
                yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def run(self):
        doubts = 0  # looks at a broken connection that no death on this machine explains
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        while not self.over:
            dead = self.dead(LOOK)
            if self.over:
                return
            if dead:
                self.mourn(dead)
            doubts += aborting()
            if doubts * LOOK > ANSWER:
                self.mourn([])
            if self.launcher is not None and _ended(self.launcher):
                self.launcher = None
                os.kill(os.getpid(), signal.SIGTERM)  # the launcher was killed: save and end
            try:
                within(self.follow)
            except TimeoutError:  # it is only slow
                pass
            except LOST:
                if 0 not in self.siblings:
                    self.mourn([0])

    def dead(self, seconds):
        """The ranks of this machine's processes that have died; waits for so many seconds at most."""
        poll = select.poll()
        for _, fd in self.siblings.values():
            poll.register(fd, select.POLLIN)
        found = {fd for fd, _ in poll.poll(seconds * 1000)}
        ended = [rank for rank, (_, fd) in self.siblings.items() if fd in found]
        for rank in filter(None, ended):  # process 0 has the store, and goes last
            with contextlib.suppress(LOST):
                if within(lambda rank=rank: self.add(f"left {rank}", 0)):  # in order
                    del self.siblings[rank]
        return [rank for rank in ended if rank in self.siblings]

    def follow(self):
        """End this process if another one has ended early. On another machine, its message is printed here, too."""
        if code := self.add("ended", 0):
            with self.alone():
                machine, reason = self.store.get("reason").decode().split(" ", 1)
            if self.rank_here == 0 and int(machine) != self.rank:
                speak(reason)
            self.stop(2 * LINGER)
            os._exit(code)

    def mourn(self, dead):
        """End this process because others have died; the lowest one alive on a machine says so.

        Args:
            dead: their ranks; none if only a broken connection tells of it.
        """
        self.mourning = True
        if 0 not in dead:
            with contextlib.suppress(LOST):
                within(self.follow)
        if self.rank < min({*self.siblings} - {*dead}, default=self.count):
            names = ", ".join(f"process {rank}" + (f" (pid {self.siblings[rank][0]})" if rank in self.siblings else "")
                              for rank in dead)
            what = (f"{names} of {self.count} died, killed or out of memory" if dead else
                    f"process {self.rank} of {self.count} has lost the connection to another one")
            text = f"{what}: all have ended; go on with --resume"
            speak(text)
            with contextlib.suppress(LOST):
                within(lambda: self.claim(1, text))
        silence()
        time.sleep(LINGER)
        os._exit(1)

    def claim(self, code, reason):
        """Whether this process is the first to end early, and so the one that says why; the others end by ``code``."""
        with contextlib.suppress(LOST):
            if self.add("claimed", 1) > 1:
                return False
            with self.alone():
                self.store.set("reason", f"{self.rank - self.rank_here} {reason}")
            self.add("ended", code)
        return True

    def exit(self, code):
        """End this process now. At Python's own end the threads of gloo and of the store would abort it."""
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def stop(self, patience=PATIENCE):
        """Stop watching, before an orderly end. Process 0, whose store all use, goes last, or after ``patience`` s."""
        if self.over:
            return
        self.over = True
        with contextlib.suppress(LOST):
            self.add(f"left {self.rank}", 1)
            left, end = self.add("left", int(self.rank > 0)), time.monotonic() + patience
            while self.rank == 0 and left < self.count - 1 and time.monotonic() < end:
                time.sleep(0.05)
                left = self.add("left", 0)


def within(work):
    """The result of ``work()``, in another thread.

    Raises:
        TimeoutError: it takes longer than `ANSWER` seconds.
    """
    found = []

    def run():
        try:
            found.append(work())
        except LOST as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(ANSWER)
    result = found[0] if found else TimeoutError("no answer")
    if isinstance(result, Exception):
        raise result
    return result


def outlast_gloo():
    """Let `abort` wait six seconds, in which `Watch` ends this process in order.

    A thread of gloo's own aborts the process if another one's connection is reset. The C library's ``sleep`` handles
    the signal; it takes the signal's number, 6, for seconds.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.signal.argtypes = ctypes.c_int, ctypes.c_void_p
        libc.signal(int(signal.SIGABRT), ctypes.cast(libc.sleep, ctypes.c_void_p))


def aborting():
    """Whether a thread waits in the handler of `outlast_gloo`: there alone SIGABRT is blocked."""
    for status in Path("/proc/self/task").glob("*/status"):
        with contextlib.suppress(OSError):
            blocked = status.read_text().partition("SigBlk:")[2].split(None, 1)[0]
            if int(blocked, 16) >> signal.SIGABRT - 1 & 1:
                return True
    return False


def _ended(fd):
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def terminal(number):
    """The launcher's standard output (1) or error (2), if it is a terminal or a pipe; else None.

    The launcher gives its processes files in place of a terminal, and copies the first one's file to its own terminal
    every few seconds. Written there directly, the bar moves and a last line is not lost.
    """
    path = Path(f"/proc/{os.getppid()}/fd/{number}")
    try:
        if processes.launched() and not path.is_file():
            return os.open(path, os.O_WRONLY | os.O_NOCTTY)
    except OSError:
        pass
    return None


def to_terminal():
    """Let this process's output go to the launcher's terminal, see `terminal`."""
    for number, name in ((1, "stdout"), (2, "stderr")):  # what libraries write to 1 and 2 stays in the launcher's file
        found = terminal(number)
        setattr(sys, name, open(number if found is None else found, "w", buffering=1,  # noqa: SIM115  until the end
                                errors="backslashreplace"))  # as in `errors.run_command`


def silence():
    """Let nothing that Python prints in this process be seen from now on."""
    sys.stdout.flush()
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  until the process ends


def unsilence():
    """Undo `silence`, on the launcher's terminal if there is one."""
    to_terminal()


def speak(text):
    """Print a line on the launcher's terminal, from any thread."""
    found = terminal(2)
    target = 2 if found is None else found
    with contextlib.suppress(OSError):
        os.write(target, ("\n" * os.isatty(target) + text + "\n").encode())  # below the bar
