"""--learning_rate and --beta1 of all tutorials: the tutorials' own by default, and what the optimisers use."""

import numpy as np
import paddle
import pytest

from common import recipe as recipes
from common.backend.compat import ADAM
from common.training import options

TUTORIALS = {"book": (2e-4, 0.9), "note6": (2e-4, 0.9), "cgan": (2e-4, 0.35), "faces": (2e-4, 0.5)}
SHAPE = {"pictures": 2, "shape": [4, 4, 1], "classes": ["a", "b"]}  # of the conditional GAN's data


@pytest.mark.parametrize("name", TUTORIALS)
def test_the_rates_are_the_tutorials_unless_typed_and_adam_uses_them(name, narrow, capsys):
    recipe = recipes.load(name)
    with pytest.raises(SystemExit):
        options.complete(recipe, ["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    known = {}
    for typed, rates in (([], TUTORIALS[name]), (["--learning_rate", "3e-3", "--beta1", "0.25"], (3e-3, 0.25))):
        args = options.complete(recipe, typed)
        assert (args.learning_rate, args.beta1) == rates
        gan = recipe.make_gan({"options": vars(args), "dataset": SHAPE}, paddle.CPUPlace())
        before, random = gan.state(), np.random.RandomState(0)
        gan.step(gan.random_batch(2, random), random)
        after = gan.state()
        trained = [key for key in before if f"{key}_moment1_0" in after or f"{key}.moment1" in after]
        change = max(np.abs(after[key] - before[key]).max() for key in trained)
        assert 0.9 * rates[0] < change < 2.3 * rates[0]  # a step of Adam is at most the rate, and a tutorial makes two
        powers = {float(np.ravel(after[key])[0]) for key in after if key.endswith((f"{ADAM[2]}_0", f".{ADAM[2]}"))}
        assert all(min(abs(power - rates[1] ** steps) for steps in (1, 2, 3)) < 1e-6 for power in powers) and powers
        paddle.disable_static()
        known |= dict(zip(("learning_rate", "beta1"), rates, strict=True)) if not typed else {}
    assert f"(default: {known['learning_rate']})" in shown and f"(default: {known['beta1']})" in shown
    assert recipe.adam({}) == known  # a run from before they were options
