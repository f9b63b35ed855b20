"""Several processes that train one model together, as ``python -m paddle.distributed.launch`` starts them.

The module knows which of them this process is, from the launcher's environment, before Paddle is imported. With a
single process no function here does anything, and ``paddle.distributed`` is never imported.
"""

import contextlib
import io
import os
import signal
import sys
import time

from common import errors
from common.errors import RunStopped, UserError

SIGNALS = signal.valid_signals() - {signal.SIGABRT}  # for the main thread; SIGABRT: see `watch.outlast_gloo`
POLL = 0.05  # seconds between two looks while waiting without a time limit; gloo gives up after 30 s


def _number(name, default):
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default


count = max(1, _number("PADDLE_TRAINERS_NUM", 1))  # processes in all
rank = _number("PADDLE_TRAINER_ID", 0) if count > 1 else 0  # of this process, from 0
count_here = _number("PADDLE_LOCAL_SIZE", count) if count > 1 else 1  # processes on this machine
rank_here = _number("PADDLE_LOCAL_RANK", rank) if count > 1 else 0
first = rank == 0  # this process writes, draws and prints
first_here = rank_here == 0  # this process prepares its machine's files

watch = None  # the `Watch` of the other processes, after `join`
together = True  # False: batch norm uses only this process's pictures, see `apart`
_met = 0
_waited = 0.0


@contextlib.contextmanager
def withheld(signals):
    """A context in which this thread gets none of ``signals``: those that come are delivered at its end.

    Threads that begin in it never get them, and processes that begin in it get them when they ask for them.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def launched():
    """Whether ``paddle.distributed.launch`` has started this process, alone or as one of several."""
    return "PADDLE_LOG_DIR" in os.environ


def join(use_gpu):
    """Connect the processes: gloo for CPUs, NCCL for GPUs.

    Raises:
        UserError: the processes do not find each other.
    """
    global watch
    if count == 1 or watch:
        return
    import paddle

    from common.parallel.watch import Watch

    os.environ["PADDLE_DISTRI_BACKEND"] = "nccl" if use_gpu else "gloo"
    try:
        # Gloo's threads begin here. The second context hides Paddle's list of the flags that `runtime` has set.
        with withheld(SIGNALS), contextlib.redirect_stderr(io.StringIO()):
            paddle.distributed.init_parallel_env()
    except (RuntimeError, ValueError) as error:
        raise UserError(f"process {rank} cannot reach the others ({str(error).strip().splitlines()[-1]}); check the "
                        "addresses that paddle.distributed.launch was given, and firewalls between the machines"
                        ) from error
    watch = Watch(rank, count, rank_here, count_here)


def leave():
    """The end of a run: wait for all processes, and stop watching them."""
    if watch:
        meet()
        watch.stop()


def run_command(main):
    """`common.errors.run_command` of a command that several processes may run together: only one of them prints."""
    if count == 1:
        return errors.run_command(main)
    from common.parallel import watch as watching

    end_at_sigterm()
    watching.to_terminal() if first else watching.silence()
    try:
        code = errors.run_command(lambda: _heard(main))
    except SystemExit as stopped:
        code = stopped.code
    finally:
        if watch:
            watch.stop()
    if watch:
        watch.exit(code)
    return code


def end_at_sigterm():
    """Until the loop begins, the launcher's SIGTERM ends this process without a word."""
    if "paddle" in sys.modules:  # its handler writes a trace of C++
        sys.modules["paddle"].disable_signal_handler()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _heard(main):
    """Call ``main()``. If it fails, find out which process has to print the error, and let the others wait for that."""
    from common.parallel import watch as watching

    try:
        return main()
    except BaseException as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher sends it as soon as one process has ended
        if watch is None and isinstance(error, SystemExit):
            os._exit(error.code)
        elif watch is None:  # something is wrong with the command, which is the same in all processes
            if not first:
                time.sleep(watching.PATIENCE)
                watching.to_terminal()  # this process still runs, so process 0 has not failed: the error is only here
        elif isinstance(error, SystemExit) or not first and isinstance(error, RunStopped):  # all stop together
            watch.stop()
        else:
            own = isinstance(error, UserError) or getattr(error, "filename", None)
            # Let process 0 print its own error first, and the watchdog report a death before the errors that it causes
            time.sleep(watching.LINGER * ((not first) + 2 * (not own)))
            if not own and "gloo" in str(error):
                error = RunStopped(f"process {rank} of {count} has lost the connection to another one, or has waited "
                                   "30 s for it: all have ended; go on with --resume")
            if not watch.claim(getattr(error, "exit_code", 1), error):
                time.sleep(watching.PATIENCE)  # `watch` ends this process
            elif not first:
                watching.to_terminal()
        raise error


def threads(cores):
    """How many of a machine's cores are this process's."""
    return max(1, cores // count_here)


def card():
    """The number of this process's GPU."""
    return _number("FLAGS_selected_gpus", rank_here) if count > 1 else 0  # set by the launcher


# What each process does of an iteration


def share(whole):
    """This process's part of a batch: a slice of an array or list. The sizes of two parts differ by at most one."""
    if count == 1:
        return whole
    each, more = divmod(len(whole), count)
    start = rank * each + min(rank, more)
    return whole[start:start + each + (rank < more)]


def weight(total):
    """How much this process's mean counts in the mean over all, for a batch of ``total`` pictures; 1 on average."""
    return len(share(range(total))) * count / total


def parallel(layer):
    """A network whose gradients are averaged over the processes during ``backward()``: ``paddle.DataParallel``."""
    if count == 1:
        return layer
    import paddle

    return paddle.DataParallel(layer)


def summed(tensor):
    """Add up a tensor over the processes, in place; the result has the same bits in each."""
    global _waited
    import paddle

    start = time.perf_counter()
    paddle.distributed.all_reduce(tensor)
    _waited += time.perf_counter() - start
    return tensor


def gathered(tensor):
    """The tensors [n] of all processes, which all must call this: [count, n] of the same type, in order of rank."""
    import paddle

    # A sum with zeros, so that one call does all
    rows = paddle.zeros([count, tensor.shape[0]], tensor.dtype)
    rows[rank] = tensor
    return summed(rows)


def mean(values, weight):
    """Means over the whole batch, from this process's means over its share: float32 numbers."""
    if count == 1:
        return values
    import numpy as np
    import paddle

    return list(summed(paddle.to_tensor(np.array(values, "float32") * np.float32(weight / count))).numpy())


def largest(*numbers):
    """The largest that any process has of each whole number below 2^24."""
    if count == 1:
        return numbers
    import paddle

    return [int(number) for number in gathered(paddle.to_tensor([float(number) for number in numbers])).max(0)]


@contextlib.contextmanager
def apart():
    """A context in which this process draws pictures alone: batch norm asks no other process."""
    global together
    together = False
    try:
        yield
    finally:
        together = True


# Waiting for work that takes long


def meet():
    """Wait until all processes have come here, however long that takes."""
    global _met
    if count > 1:
        _met += 1
        watch.add(f"met {_met}", 1)
        _until(lambda: watch.add(f"met {_met}", 0) >= count)


@contextlib.contextmanager
def first_here_first(what):
    """The machine's first process does the block's work; then the others do it, and find its files ready.

    Args:
        what: a name for the work, used once.
    """
    key = f"{what} on {rank - rank_here}"
    if not first_here:
        _until(lambda: watch.add(key, 0))
    yield
    if first_here and count > 1:
        watch.add(key, 1)


def _until(condition):
    global _waited
    start = time.perf_counter()
    while not condition():
        time.sleep(POLL)
    _waited += time.perf_counter() - start


def waited():
    """The seconds that this process has spent in exchanging statistics and losses with the others, and in waiting.

    The exchange of gradients, which takes place within ``backward()``, is not counted.
    """
    return _waited
