"""Train one of the static-graph tutorials: ``python static_mnist/train.py --recipe cgan --dataset fashion``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.parallel.processes import run_command
from common.training import options


def main(argv=None):
    """Run the command; raises `UserError`."""
    recipe, args = options.read("static_mnist", argv)

    from common.report.page import write_report  # after --help, which it would hold up
    from common.training.run import train

    train(recipe, args, write_report)


if __name__ == "__main__":
    sys.exit(run_command(main))
