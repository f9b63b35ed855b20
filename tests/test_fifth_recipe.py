"""A fifth tutorial is one file and one line: the usual commands train it, go on, draw, evaluate and report."""

import sys

import numpy as np
import pytest

import static_mnist
from common import load, pretrained
from common import recipe as recipes
from common.training import checkpoint
from common.training.records import Records
from static_mnist import generate, train
from tests.helpers import caller, moved
from tools import evaluate, export, oddities, pack_generator, report

FILE = '''
"""A GAN without networks: the generator draws the mean picture that it has seen, brightened by its noise."""

import numpy as np

from common.data.batches import Batches
from common.recipe import GAN, Oddity
from static_mnist.pictures import StaticRecipe


class FifthGAN(GAN):
    losses = ("Distance",)

    def __init__(self, bright):
        self.mean = np.zeros(784, "float32")
        self.bright = bright

    def noise(self, count, random):
        return random.uniform(-self.bright, self.bright, [count, 784]).astype("float32")

    def step(self, batch, random):
        fake = self.mean + self.noise(len(batch), random)
        self.mean = (0.9 * self.mean + 0.1 * batch.mean(0)).astype("float32")
        return {"Distance": np.abs(fake - batch).mean()}

    def sample(self, noise):
        return np.clip(self.mean + noise, -1, 1).reshape(-1, 28, 28)

    def state(self):
        return {"mean": self.mean.copy()}

    def load_state(self, arrays):
        self.mean = arrays["mean"]


class Fifth(StaticRecipe):
    def batches(self, pictures, options):
        return Batches(pictures.images, options["batch_size"], seed=options["seed"])

    def make_gan(self, config, place, fix=()):
        return FifthGAN(0.1 if "noise" in {*config["options"]["fix"], *fix} else 0.5)


RECIPE = Fifth(name="fifth", title="a fifth tutorial", gan=FifthGAN, epoch=2, batch_size=200, output="output_fifth",
               data=("digits",), oddities=(Oddity("noise", "less noise", "everywhere", shows="drawing"),))
'''


@pytest.fixture
def fifth(tmp_path, monkeypatch):
    """The file, and the line."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "fifth.py").write_text(FILE)
    monkeypatch.setattr(static_mnist, "__path__", [*static_mnist.__path__, str(tmp_path / "package")])
    monkeypatch.setitem(recipes.TUTORIALS, "fifth", "static_mnist.fifth")
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("static_mnist.fifth", None)


def test_a_fifth_recipe(fifth, tmp_path, capsys, monkeypatch):
    def call(command, *args):
        code, out, err = caller(command.main, capsys)(*args)
        assert code == 0, err
        return out

    assert "8 batches an epoch, 16 iterations\ntime: about" in call(train, "--recipe", "fifth", "--dataset", "digits",
                                                                     "--dry_run")
    call(train, "--recipe", "fifth", "--dataset", "digits", "--output", "whole")
    call(train, "--recipe", "fifth", "--dataset", "digits", "--max_steps", "5")
    assert "at step 5 of 16" in call(train, "--recipe", "fifth", "--resume")
    whole, resumed = (checkpoint.load(checkpoint.listing(tmp_path / run / "checkpoints")[-1])[0]
                      for run in ("whole", "output_fifth"))
    assert not moved(whole, resumed) and np.ptp(whole["mean"]) > 0.5

    call(generate, "--run", "whole", "--count", "30", "--output", "drawn")
    call(generate, "--run", "whole", "--count", "30", "--output", "mended", "--fix", "noise")
    drawn, mended = (np.load(tmp_path / name / "generated.npy") for name in ("drawn", "mended"))
    assert drawn.shape == (30, 28, 28) and mended.std(0).mean() < 0.5 * drawn.std(0).mean()

    assert call(evaluate, "--run", "whole", "--count", "150").startswith("fifth, digits: mnist-cnn-")
    assert len(Records(tmp_path / "whole").evaluations()) == 3  # untrained, and both epochs
    call(report, "whole", "--output", "page.html")
    assert "fifth on digits" in (tmp_path / "page.html").read_text(encoding="utf-8")
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path / "weights")
    call(pack_generator, "--run", "whole", "--name", "fifth", "--count", "150")
    call(generate, "--pretrained", "fifth", "--count", "30", "--output", "packed")
    np.testing.assert_array_equal(np.load(tmp_path / "packed" / "generated.npy"), drawn)
    np.testing.assert_array_equal(load("whole").generate(30)[..., 0], drawn)
    code, _, err = caller(export.main, capsys)("--run", "whole")
    assert (code, err) == (2, "error: the generator of this tutorial cannot be exported\n")

    table = call(oddities, "--recipe", "fifth", "--dataset", "digits", "--epoch", "1", "--seeds", "1", "--count", "150")
    assert table.splitlines()[-1].startswith("| noise ")
