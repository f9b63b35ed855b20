"""Make the report of a run, or of several side by side: one HTML file that opens without a network."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.errors import run_command
from common.files import expanded, refuse_other
from common.training.options import Parser


def main(argv=None):
    """Run the command; raises `UserError`."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("runs", type=expanded, nargs="+", metavar="DIR", help="folder of a run")
    add("--output", type=expanded, metavar="FILE",
        help="the HTML file (default: report.html in the run's folder, or here for several runs)")
    args = parser.parse_args(argv)

    from common.report import page as report  # not before --help, because NumPy and Pillow load slowly

    output = args.output or (args.runs[0] if len(args.runs) == 1 else Path()) / "report.html"
    refuse_other(output, b"--paper: #fff; --ink:", "report")  # a line of the page's style: every report has it
    report.write(args.runs, output)
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(run_command(main))
