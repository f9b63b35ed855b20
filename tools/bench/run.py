"""Show how long each part of a training run took."""

from common.errors import UserError
from common.training.records import PARTS, Records
from tools.bench.text import table


def show_run(folder):
    """Print how long each part of a training run took, from its ``timing.jsonl``.

    Raises:
        UserError: the file is missing, or the run was too short.
    """
    if not (spent := Records(folder).time_spent()):
        raise UserError(f"{folder / 'timing.jsonl'} is missing or has too few lines to tell anything; "
                        "name the folder of a run, or train longer")
    elapsed, steps, parts = spent
    print(f"{folder}: {steps} iterations in {elapsed:.0f} s, {elapsed / steps:.3f} s each, "
          f"{parts['step'] / steps:.3f} s of it training")
    print(table(["part", "share", "seconds an iteration"], [
        [PARTS.get(name, name), f"{value / elapsed:.2%}", f"{value / steps:.5f}"] for name, value in parts.items()]))
