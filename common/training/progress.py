"""The progress of a training: a bar on a terminal or in a notebook, plain lines everywhere else."""

import errno
import os
import string
import sys
import time

from tqdm import tqdm

from common.errors import nowhere, say, terminal

EVERY = 50  # batches between two plain lines
BAR = "|bar|"  # a placeholder for the bar itself
LEAST = 8  # columns of the shortest bar, with its edges
CELL = 120  # columns of a bar in a notebook, whose width is unknown
PAUSE = 0.2  # seconds between two updates in a notebook


class Progress:
    """Progress of a run over all its epochs.

    A terminal shows one bar with epoch, batch, losses, pictures a second, the reader's share and the time left.
    A notebook's cell shows the same bar with the newest line under it. The bar stays when the run ends.
    Elsewhere a plain line says the same, but for the losses, every 50 batches.

    Args:
        total: batches of the whole run.
        done: batches done before, in a resumed run.
        batch_size: pictures in a batch.

    Attributes:
        unread: whether a line could not be printed because the reader of the output has ended.
    """

    def __init__(self, total, done, batch_size):
        self.total, self.done, self.batch_size = total, done, batch_size
        self.unread = False
        self.terminal = terminal()
        self.bar = tqdm(total=total, initial=done, disable=not self.terminal, file=sys.stderr, leave=False,
                        dynamic_ncols=True, bar_format="{percentage:.0f}% |{bar}|")
        self.cell = Cell() if notebook() else None
        self.seconds = None  # for a batch, smoothed
        self.last = time.perf_counter()

    def update(self, epoch, batch, batches, losses, reader):
        """Show one finished batch.

        Args:
            epoch: its number, from 0.
            batch: its number in the epoch, from 0.
            batches: how many batches an epoch has.
            losses: name → number.
            reader: the share of the time that was spent waiting for data, 0 … 1.
        """
        now = time.perf_counter()
        took, self.last = now - self.last, now
        self.seconds = took if self.seconds is None else 0.9 * self.seconds + 0.1 * took
        self.done += 1
        left = f"ETA {hours((self.total - self.done) * self.seconds)}"
        rates = f"{self.batch_size / self.seconds:.1f} pictures/s", f"reader {reader:.1%}"
        place = f"{epoch + 1}/{-(-self.total // batches)} batch {batch + 1}/{batches}"  # both from 1
        if self.terminal or self.cell:
            head = f"epoch {place} {self.done / self.total:.0%} {left}"
            columns = CELL if self.cell else width(sys.stderr)
            text = fitting(head, losses, rates, columns).replace(BAR, "|{bar}|")
            if self.cell:
                self.cell.show(bar=tqdm.format_meter(self.done, self.total, 0, ncols=CELL, bar_format=text))
                return
            self.bar.bar_format = text
            self.bar.update()
        elif self.done % EVERY == 0:
            self.line(f"epoch {place}: {', '.join((*rates, left))}")

    def line(self, text):
        """Print a line, above a terminal's bar. If nobody reads the output any more, set ``unread``."""
        if self.cell:
            self.cell.show(line=text)
            return
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
            nowhere(sys.stdout)
            if error.errno != errno.EIO:  # else the terminal is closed: SIGHUP ends the run, unless it is ignored
                say(f"note: standard output cannot be written ({error.strerror}); the run goes on without it")

    def close(self):
        """Remove a terminal's bar; leave a notebook's bar as it is after the last batch."""
        self.bar.close()
        if self.cell:
            self.cell.show(now=True)


class Cell:
    """Two lines in the output of a notebook's cell, a bar and a message. A new text replaces the old one."""

    def __init__(self):
        from IPython.display import display

        self.bar = self.text = ""
        self.shown = time.monotonic()
        self.handle = display(self.content(), raw=True, display_id=True)

    def content(self):
        return {"text/plain": f"{self.bar}\n{self.text}".strip()}

    def show(self, bar=None, line=None, now=False):
        """Change a line; the cell changes when `PAUSE` has passed, or ``now``."""
        self.bar = self.bar if bar is None else bar
        self.text = self.text if line is None else line
        if now or time.monotonic() - self.shown > PAUSE:
            self.shown = time.monotonic()
            self.handle.update(self.content(), raw=True)


def notebook():
    """Whether standard output goes into the cell of a Jupyter notebook."""
    return type(sys.stdout).__module__ == "ipykernel.iostream"


def fitting(head, losses, rates, columns):
    """A line of at most ``columns`` columns that always contains the head.

    If there is too little room, parts are left out in this order: the reader's share, pictures a second, the word at
    the end of all losses' names, decimals.

    Args:
        head: where the run is, and the time left.
        losses: name → number.
        rates: texts, the most important first.
        columns: of the terminal.

    Returns:
        The line, with `BAR` in it if there is room for a bar.
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
    """The columns of a terminal; 120 if they are unknown."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 120
    except OSError:
        return 120


def hours(seconds):
    """Seconds as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
