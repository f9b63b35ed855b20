"""What a person sees of a training: a bar on a terminal, plain lines everywhere else."""

import errno
import os
import string
import sys
import time

from tqdm import tqdm

from common.errors import nowhere, terminal

EVERY = 50  # batches between two plain lines
BAR = "|bar|"  # stands for the bar itself
LEAST = 8  # columns of a bar, edges and all


class Progress:
    """Progress of a run over all its epochs.

    On a terminal one bar with epoch, batch, losses, pictures a second, the reader's share and the time
    left; elsewhere a plain line with the same each 50 batches.

    Args:
        total: batches of the whole run.
        done: batches done before, in a resumed run.
        batch_size: pictures in a batch.

    Attributes:
        unread: a line has found nobody to read it.
    """

    def __init__(self, total, done, batch_size):
        self.total, self.done, self.batch_size = total, done, batch_size
        self.unread = False
        self.terminal = terminal()
        self.bar = tqdm(total=total, initial=done, disable=not self.terminal, file=sys.stderr, leave=False,
                        dynamic_ncols=True, bar_format="{percentage:.0f}% |{bar}|")
        self.seconds = None  # that a batch takes, smoothed
        self.last = time.perf_counter()

    def update(self, epoch, batch, batches, losses, reader):
        """Show one finished batch.

        Args:
            epoch, batch, batches: where the run is, from 0, the latter of how many in an epoch.
            losses: name → number.
            reader: the share of the time that went into waiting for data, 0 … 1.
        """
        now = time.perf_counter()
        took, self.last = now - self.last, now
        self.seconds = took if self.seconds is None else 0.9 * self.seconds + 0.1 * took
        self.done += 1
        left = f"ETA {hours((self.total - self.done) * self.seconds)}"
        rates = f"{self.batch_size / self.seconds:.1f} pictures/s", f"reader {reader:.1%}"
        place = f"{epoch + 1}/{-(-self.total // batches)} batch {batch + 1}/{batches}"  # both from 1
        if self.terminal:
            head = f"epoch {place} {self.done / self.total:.0%} {left}"
            columns = width(sys.stderr)
            self.bar.bar_format = fitting(head, losses, rates, columns).replace(BAR, "|{bar}|")
            self.bar.update()
        elif self.done % EVERY == 0:
            self.line(f"epoch {place}: {', '.join((*rates, left))}")

    def line(self, text):
        """Print a line, above the bar where there is one; see ``unread`` for a reader that has gone."""
        try:
            if self.terminal:
                self.bar.write(text, file=sys.stdout)
                sys.stdout.flush()
            else:
                print(text, flush=True)
        except BrokenPipeError:
            self.unread = True
            nowhere(sys.stdout)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            nowhere(sys.stdout)  # the terminal is closed: a signal tells, unless the run is to go on without

    def close(self):
        """Take the bar away."""
        self.bar.close()


def fitting(head, losses, rates, columns):
    """A line of at most so many columns, the head always in it.

    Where there is less room, the reader's share goes first, then pictures a second, what the losses' names have in
    common at their end, and decimals.

    Args:
        head: where the run is, and the time left.
        losses: name → number.
        rates: texts, the most important first.
        columns: of the terminal.

    Returns:
        The line, with `BAR` where there is room for a bar.
    """
    common = os.path.commonprefix([name[::-1] for name in losses])[::-1] if len(losses) > 1 else ""
    ending = common.lstrip(string.ascii_letters)  # whole words: " Loss", "-Loss"
    names = [name.removesuffix(ending) or name for name in losses]
    full, short, shorter = (" ".join(f"{name}={value:.{digits}f}" for name, value in zip(known, losses.values(),
                                                                                       strict=True))
                            for known, digits in ((losses, 4), (names, 4), (names, 2)))
    for text in (", ".join((full, *rates)), ", ".join((full, *rates[:1])), full, short, shorter):
        room = columns - len(head) - len(text) - 1
        if room > LEAST:
            return f"{head} {BAR} {text}"
        if room >= 0:
            return f"{head} {text}"
    return head[:columns]


def width(stream):
    """Columns of a terminal; 120 where it does not say."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 120
    except OSError:
        return 120


def hours(seconds):
    """Seconds as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
