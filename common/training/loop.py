"""The training loop of all recipes: epochs, progress, records, checkpoints, resume, signals.

It knows nothing of Paddle's two modes, nor of any tutorial: see `common.gan.GAN`.
"""

import math
import signal
import sys
import time
from collections import Counter
from contextlib import closing, contextmanager

from common import plotting
from common.errors import NOBODY_READS, RunStopped, UserError, say, signals
from common.files import numbered
from common.parallel import processes
from common.training import checkpoint
from common.training.progress import Progress
from common.training.records import understood

CHECKPOINT_SECONDS = 300  # after this time without a checkpoint one is saved within an epoch, too

STOPPING = signals("SIGINT", "SIGTERM", "SIGHUP")


class Signals:
    """SIGINT, SIGTERM and SIGHUP end the run after the current batch; a second signal ends the process at once.

    Under nohup, SIGHUP is ignored, and stays ignored. A closed terminal may send SIGHUP twice, from the shell and from
    the system, so a repeated SIGHUP does not count as a second signal. Nor does any signal if a launcher has started
    the run: it sends SIGTERM three times, and kills the run's processes at the user's second Ctrl-C.
    """

    def __init__(self):
        self.received = None
        self.second_ends = processes.count == 1 and not processes.launched()

    def __enter__(self):
        ignored = [number for number in STOPPING
                   if number not in (signal.SIGINT, signal.SIGTERM) and signal.getsignal(number) is signal.SIG_IGN]
        self.before = {number: signal.signal(number, self.note) for number in STOPPING if number not in ignored}
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def note(self, number, _frame):
        if self.received is not None:
            if number in (signal.SIGINT, signal.SIGTERM) and self.second_ends:
                say("stopped at once; what came after the newest checkpoint is lost")
                sys.exit(128 + number)
            return
        self.received = number
        say("")  # begins a new line below the bar
        say(f"{signal.Signals(number).name}: saving after this batch"
            + ("; once more to stop at once" if self.second_ends else ""))


class Loop:
    """The training of one run.

    Args:
        gan: `common.gan.GAN`.
        data: the data set, as `common.recipe.Recipe.open_data` returns it.
        folder: `common.training.run_folder.RunFolder`.
        config: of the run, which each checkpoint keeps too.
        random: ``numpy.random.RandomState`` of the noise.
        epochs: how many.
        max_steps: stop after this many iterations, including those before a resume.
        note: added to every title, such as the name of a data set that is not the tutorial's.
        report: called with the run's folder after the last picture.

    Attributes:
        writer: VisualDL's ``LogWriter``, or None.
    """

    def __init__(self, gan, data, folder, config, random, epochs, max_steps=None, note="", report=None):
        self.gan, self.data, self.folder, self.config, self.random = gan, data, folder, config, random
        self.steps = min(epochs * len(data), max_steps or sys.maxsize)
        self.note, self.report, self.writer = note, report, None
        self.seconds = Counter(reader=0.0, step=0.0, records=0.0, checkpoints=0.0)
        self.step = 0
        # Drawn before all other noise, as in the book.
        self.constant_noise = gan.constant_noise(data.batch_size, random)

    def resume(self):
        """Restore the run from its newest checkpoint; return that checkpoint's path.

        Raises:
            UserError: there is no checkpoint, it is damaged, or it belongs to another recipe or network.
        """
        path = self.folder.latest()
        arrays, record = checkpoint.load(path)
        if record.get(checkpoint.GENERATOR):
            raise UserError(f"{path} keeps only the generator: pictures can be drawn from it, but a training cannot go "
                            f"on from it; {checkpoint.another(path)}")
        recipe, own = record["config"]["recipe"], self.config["recipe"]
        if recipe != own:
            raise UserError(f"{path} is a checkpoint of the recipe {recipe}, not of {own}; "
                            "name its own recipe, or another --output")
        try:
            self.gan.load_state(arrays)
        except UserError as error:
            raise UserError(f"{path}: {error}; {checkpoint.another(path)}") from error
        self.random = checkpoint.unpack_random(arrays["random"], record["random"])
        self.constant_noise = arrays["constant_noise"]
        self.step = record["step"]
        return path

    def run(self):
        """Train to the end and draw the loss curves and the animation.

        Raises:
            RunStopped: a signal came, or a loss is not a number.
        """
        self.folder.open_metrics(self.step)
        self.write_timing()  # so that the time before the first picture is counted, too
        progress = Progress(self.steps, self.step, self.data.batch_size)
        try:
            with Signals() as self.signals:
                while self.step < self.steps:
                    self.epoch(*divmod(self.step, len(self.data)), progress)
        finally:
            progress.close()
        if processes.first:
            self.finish()

    def epoch(self, epoch, first, progress):
        """Train on the batches of one epoch from number ``first`` on, until the run's last step."""
        # Closed at once, however the epoch ends, because it may have worker processes.
        with closing(self.data.epoch(epoch, first)) as batches:
            self.train_on(batches, epoch, first, progress)

    def train_on(self, batches, epoch, first, progress):
        """Train on the batches of an iterator, see `epoch`."""
        saved = time.monotonic()
        for number in range(first, min(len(self.data), first + self.steps - self.step)):
            with self.timed("reader"):
                batch = next(batches)
            with self.timed("step"):
                losses = self.gan.step(batch, self.random)
            self.refuse_nan(losses)
            self.folder.write_metrics(step=self.step, epoch=epoch, batch=number, **losses)
            if self.writer:
                for name, value in losses.items():
                    self.writer.add_scalar(name, float(value), self.step)
            self.step += 1
            shown = {name: losses[name] for name in self.gan.losses}
            progress.update(epoch, number, len(self.data), shown,
                            self.seconds["reader"] / sum(self.seconds.values()))
            last = number == len(self.data) - 1 or self.step == self.steps
            due = self.gan.due(number, self.step, last)
            if due and processes.first:
                with self.timed("records"):
                    self.record(epoch, number, batch, losses, progress)
            if last and processes.first:
                self.gan.end_epoch(self.folder.path)
            with self.timed("step"):
                if due or last:
                    processes.meet()  # pictures may take longer than gloo waits
                code, late = processes.largest(self.exit_code(progress), time.monotonic() - saved > CHECKPOINT_SECONDS)
            save = last or code or late
            if save:
                if processes.first:
                    with self.timed("checkpoints"):
                        path = self.save()
                saved = time.monotonic()
            if due or save:
                with self.timed("step"):
                    processes.meet()
                self.write_timing()
            if code and self.step < self.steps:
                why = ("stopped, because nobody reads its output any more," if code == NOBODY_READS else
                       f"stopped by {signal.Signals(code - 128).name}")
                path = path if processes.first else "a checkpoint"
                raise RunStopped(f"{why} after epoch {epoch} batch {number}; saved {path}; "
                                 "go on with --resume", exit_code=code)

    def exit_code(self, progress):
        """The shell's exit code if the run has to end after this batch, else 0."""
        return 128 + self.signals.received if self.signals.received else NOBODY_READS if progress.unread else 0

    def write_timing(self):
        """Write how long each part of the work has taken in this process so far."""
        self.folder.write_timing(step=self.step,
                                 seconds={name: round(value, 4) for name, value in self.seconds.items()})

    @contextmanager
    def timed(self, part):
        """Add the block's time to one part of the run's time; its waiting for other processes goes to ``waiting``."""
        start, waited = time.perf_counter(), processes.waited()
        yield
        waiting = processes.waited() - waited
        self.seconds[part] += time.perf_counter() - start - waiting
        if waiting:
            self.seconds["waiting"] += waiting

    def record(self, epoch, batch, real, losses, progress):
        """Print the tutorial's message, save its picture, and save the constant noise's pictures separately."""
        name = f"{epoch:04d}_{batch:04d}.png"
        gan = self.gan
        message = gan.message(epoch, batch, losses)
        generated = gan.sample(self.constant_noise)
        title = f"{message.rstrip()}\n {self.note}" if self.note else message
        gan.draw(self.folder.path / name, title, real, generated)
        gan.save_frame(self.folder.frames / name, self.constant_noise, generated)
        progress.line(" ".join(message.split()))

    def refuse_nan(self, numbers):
        """Raise `RunStopped` if a loss is not finite. The newest checkpoint is older than this step."""
        bad = [name for name, value in numbers.items() if not math.isfinite(value)]
        if bad:
            found = checkpoint.listing(self.folder.checkpoints)
            good = f"the last good checkpoint is {found[-1]}" if found else "no checkpoint was saved before"
            raise RunStopped(f"{bad[0]} is {numbers[bad[0]]} after {self.step} steps; {good}")

    def save(self):
        """Write a checkpoint with everything that `resume` needs; return its path."""
        self.folder.sync_metrics()
        key, position = checkpoint.pack_random(self.random)
        arrays = {**self.gan.state(), "random": key, "constant_noise": self.constant_noise}
        self.refuse_nan({name: array.sum(dtype="float64") for name, array in arrays.items()})
        epoch, batch = divmod(self.step, len(self.data))
        record = {"step": self.step, "random": position, "config": self.config}
        try:
            best = self.folder.marked()
        except UserError as error:  # no reason to stop a training
            best = None
            say(f"note: {error}; the checkpoint that it marks may be deleted as all others are")
        return checkpoint.save(self.folder.checkpoints, epoch, batch, arrays, record, self.gan.generator_names(), best)

    def finish(self):
        """Write loss curves, animation and report, and print a line that says where everything is."""
        metrics = self.folder.metrics()
        curves, recipe = self.gan.curves, self.config["recipe"]
        with understood(self.folder.metrics_path):
            if curves.by_epoch:
                metrics = {line["epoch"]: line for line in metrics}.values()
            losses = {label: [line[name] for line in metrics]
                      for label, name in zip(curves.labels or self.gan.losses, self.gan.losses, strict=True)}
        plotting.save_losses(self.folder.path / curves.file, losses,
                             (curves.title or f"{recipe}: losses") + (self.note and " · " + self.note), curves.xlabel)
        frames = [path for path, *_ in numbered(self.folder.frames, ".png")]
        if frames:
            plotting.save_animation(self.folder.path / "animation.gif", frames)
        if self.report:
            self.report(self.folder.path)
        total = sum(self.seconds.values())
        if total:
            print("time: " + ", ".join(f"{name} {value / total:.1%}" for name, value in self.seconds.items()))
        print(f"done: {self.step} steps; report.html, pictures, {curves.file}, animation.gif, metrics.jsonl and "
              f"checkpoints/ are in {self.folder.path.resolve()}")
