"""A GAN of nothing but NumPy for the tests of the training loop, and what they look at."""

import numpy as np

from common import plotting
from common.recipe import GAN
from common.training import checkpoint

CONFIG = {"recipe": "fake", "options": {}, "dataset": {}, "versions": {}, "machine": {}}


class FakeGAN(GAN):
    """Its weight depends on every batch and every random number, in order."""

    losses = ("D-Loss", "DG-Loss")
    record_every = 2

    def __init__(self):
        self.weight = np.zeros(3, "float32")
        self.drawn, self.ended = [], []
        self.before_step = lambda steps: None
        self.steps = 0

    def noise(self, count, random):
        return random.normal(size=[count, 3]).astype("float32")

    def step(self, batch, random):
        self.before_step(self.steps)
        self.steps += 1
        self.weight = 0.9 * self.weight + batch.mean() + self.noise(len(batch), random).mean(0)
        return {"D-Loss": self.weight.sum(), "DG-Loss": np.float32(random.normal()), "D-Loss fake": np.float32(0.5)}

    def sample(self, noise):
        return np.tanh(noise @ self.weight)[:, None, None] * np.ones([1, 4, 4], "float32")

    def message(self, epoch, batch, losses):
        return f"{epoch} {batch} {losses['D-Loss']}"

    def draw(self, path, title, real, generated):
        self.drawn.append(title)
        plotting.save_png(path, plotting.grid(np.concatenate([real.reshape(-1, 4, 4), generated])))

    def state(self):
        return {"weight": self.weight.copy()}

    def load_state(self, state):
        self.weight = state["weight"].copy()

    def end_epoch(self, folder):
        self.ended.append(folder)


def result(run):
    """What must not depend on interruptions: final arrays, metrics, pictures."""
    arrays, record = checkpoint.load(run.folder.latest())
    pictures = {path.relative_to(run.folder.path): path.read_bytes() for path in run.folder.path.rglob("*.png")}
    return {name: array.tobytes() for name, array in arrays.items()}, record, \
        run.folder.metrics_path.read_bytes(), pictures


def names(run):
    return [path.name for path in checkpoint.listing(run.folder.checkpoints)]
