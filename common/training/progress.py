"""What a person sees of a training: a bar on a terminal, plain lines everywhere else."""

import errno
import sys
import time

from tqdm import tqdm

from common.errors import nowhere, terminal

EVERY = 50  # batches between two plain lines


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
        rates = (f"{self.batch_size / self.seconds:.1f} pictures/s, reader {reader:.1%}, "
                 f"ETA {hours((self.total - self.done) * self.seconds)}")
        place = f"{epoch + 1}/{-(-self.total // batches)} batch {batch + 1}/{batches}"  # both from 1
        if self.terminal:
            shown = " ".join(f"{name}={value:.4f}" for name, value in losses.items())
            self.bar.bar_format = (f"epoch {place} {{percentage:.0f}}% |{{bar}}| "
                                   f"{shown}, {rates}")
            self.bar.update()
        elif self.done % EVERY == 0:
            self.line(f"epoch {place}: {rates}")

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


def hours(seconds):
    """Seconds as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
