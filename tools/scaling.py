"""How fast the faces would train in many processes: bytes and times on paper, as in ``docs/scaling.md``."""

import json
import math
import os
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import recipe
from common.backend import runtime
from common.errors import ROOT, UserError, run_command
from common.files import expanded
from common.training.options import Parser, positive

MEASURED = ROOT / "docs" / "logs" / "bench_avx512.json"
PROCESSES = tuple(2 ** k for k in range(7))
NETWORKS = (1, 10, 100)  # Gbit/s between two machines, in each direction
FLOAT = 4  # bytes


class Exchange(NamedTuple):
    """What a process exchanges with the others in one iteration."""

    gradients: dict  # network → (numbers, times): one message for each step of its optimiser
    norms: tuple  # channels of each pass through a batch norm, whose statistics are exchanged
    norm_gradients: tuple  # channels of each pass back


def exchange(gan):
    """The `Exchange` of one step of a `dygraph_celeba.dynamic_gan.DynamicGAN`, seen in a step on two pictures."""
    import numpy as np
    from paddle import nn

    steps, norms, back = {}, [], []

    def passed(layer, inputs, output):
        norms.append(layer.weight.shape[0])
        if not output.stop_gradient:
            back.append(layer.weight.shape[0])

    for name, network, optimizer in gan.networks():
        steps[name] = 0

        def counted(name=name, step=optimizer.step):
            steps[name] += 1
            step()

        optimizer.step = counted
        for layer in network.sublayers():
            if isinstance(layer, nn.BatchNorm2D):
                layer.register_forward_post_hook(passed)
    random = np.random.RandomState(0)
    gan.step(gan.random_batch(2, random), random)
    return Exchange({name: (count, steps[name]) for name, count in gan.sizes().items()}, tuple(norms), tuple(back))


def messages(sent, processes, synchronised=True):
    """The bytes of each message of an iteration, in any order.

    Args:
        sent: `Exchange`.
        processes: how many; batch norm's statistics are gathered, so that their messages grow with it.
        synchronised: whether batch norm uses the statistics of all processes.
    """
    found = [FLOAT * numbers for numbers, times in sent.gradients.values() for _ in range(times)]
    if synchronised:
        found += [FLOAT * processes * (2 * channels + 1) for channels in sent.norms]  # mean, squares; and the count
        found += [FLOAT * 2 * channels for channels in sent.norm_gradients]
    return found


def seconds(sizes, processes, gigabits, latency):
    """The time of ring all-reduces, one after the other, while nothing is computed.

    A message is cut into as many parts as there are processes. Each part goes around the ring twice but for one step:
    2 (n - 1) steps of 1/n of the bytes. Source: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for
    clusters of workstations", 2009.

    Args:
        sizes: bytes of each message.
        processes: n, each on a machine of its own.
        gigabits: a second, that a machine sends while it receives as many.
        latency: seconds that a step takes beside its bytes.
    """
    rate = gigabits * 1e9 / 8
    return sum(2 * (processes - 1) * (size / processes / rate + latency) for size in sizes)


def measured(path):
    """(seconds, batch, machine in words) of the faces' iteration in a file of ``tools/benchmark.py --json``.

    Raises:
        UserError: there is no such file, or it has no such row.
    """
    from tools.bench.text import median
    from tools.bench.ways import GANS, OURS

    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        row = next(row for row in report["rows"] if row["row"] in GANS and GANS[row["row"]].recipe == name())
        machine = f"{report['machine']['cpu']}, {report['machine']['cores']} cores"
        return float(median(row["seconds"][OURS])[0]), row["batch"], machine
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
        raise UserError(f"{path} has no iteration of the faces; name a file that make bench ARGS=\"--rows celeba "
                        "--json FILE\" wrote") from error


def name():
    """The recipe that trains in several processes."""
    return recipe.names("dygraph_celeba")[0]


def report(sent, once, batch, latency, apart=False):
    """Print the tables.

    Args:
        sent: `Exchange`.
        once: seconds of an iteration in one process.
        batch: pictures of that iteration.
        latency: as in `seconds`.
        apart: whether batch norm is not synchronised.
    """
    from tools.bench.text import table

    print(table(["network", "parameters", "bytes", "times an iteration"],
                [[network, f"{numbers:,}", f"{FLOAT * numbers:,}", times]
                 for network, (numbers, times) in sent.gradients.items()], right=True), end="\n\n")
    gradients = sum(messages(sent, 1, synchronised=False))
    print(f"gradients: {gradients / 1e6:.1f} MB an iteration")
    if not apart:
        print(f"batch norm: {len(sent.norms) + len(sent.norm_gradients)} messages an iteration, "
              + ", ".join(f"{(sum(messages(sent, n)) - gradients) / 1e6:.1f} MB with {n}" for n in PROCESSES[1::5]))
    print()
    links = [f"{gigabits} Gbit/s" for gigabits in NETWORKS]
    for title, shared in (("The batch shared out", True), (f"{batch} pictures for each process", False)):
        rows = []
        for processes in PROCESSES:
            alone = once / processes if shared else once
            cells = []
            for gigabits in NETWORKS:
                sizes = messages(sent, processes, synchronised=not apart)
                whole = alone + seconds(sizes, processes, gigabits, latency)
                gain = once / whole * (1 if shared else processes)
                cells.append(f"{whole:.3f} s {gain:5.2f}×")
            rows.append([processes, math.ceil(batch / processes) if shared else batch, *cells])
        print(f"{title}: an iteration, and the speed-up\n")
        print(table(["processes", "pictures", *links], rows, right=True), end="\n\n")


def main(argv=None):
    """Run the command; raises `UserError`."""
    parser = Parser(prog="scaling.py", description=__doc__)
    add = parser.add_argument
    add("--json", type=expanded, default=MEASURED, metavar="FILE", help="a benchmark with an iteration of the faces")
    add("--latency", type=positive, default=50, metavar="µs", help="of one step of a message, beside its bytes")
    add("--apart", action="store_true", help="batch norm is not synchronised")
    args = parser.parse_args(argv)
    os.environ["GAN_FAST_OPS"] = "0"  # so that batch norm is a layer of its own, whose passes can be counted
    runtime.prepare()
    import paddle

    once, batch, machine = measured(args.json)
    sent = exchange(recipe.load(name()).gan.original(paddle.CPUPlace(), batch))
    print(f"one process: {once:.2f} s an iteration of {batch} pictures on {machine}\n")
    report(sent, once, batch, args.latency * 1e-6, args.apart)


if __name__ == "__main__":
    sys.exit(run_command(main))
