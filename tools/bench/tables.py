"""The tables that the benchmark prints: they read well on a terminal and are Markdown too."""

from tools.bench.machine import line
from tools.bench.operators import operators_tables, shares_table
from tools.bench.pair import pair_table
from tools.bench.pictures import CROP
from tools.bench.text import median, percent, ratio, short, table, times
from tools.bench.turns import DISTURBED
from tools.bench.ways import (
    FLUID,
    FLUID_BEST,
    GANS,
    OURS,
    OURS_BF16,
    PRODUCT,
    SIDE,
    TORCH,
    TORCH_BF16,
    TORCH_KEPT,
    TORCH_LAST,
    WRITTEN,
    title,
)

# The order in the tables: fluid, the listing on Paddle's own settings, another library, this project
ORDER = (FLUID, FLUID_BEST, WRITTEN, TORCH, TORCH_KEPT, TORCH_LAST, TORCH_BF16, OURS, OURS_BF16)
RIVALS = {"original": (FLUID, FLUID_BEST), "listing": (WRITTEN,), "PyTorch": (TORCH, TORCH_KEPT, TORCH_LAST),
          "PyTorch bf16": (TORCH_BF16,), "ours, --amp": (OURS_BF16,)}


def rival(result, ways):
    """The way with the smallest median time among the given ways; None if no way of them was measured."""
    seconds = result["seconds"]
    return min((way for way in ways if way in seconds), key=lambda way: median(seconds[way])[0], default=None)


def summary_table(results):
    """The table of how many times as fast ours is as the fastest way of each rival."""
    lines = []
    for result in results:
        best = [rival(result, ways) for ways in RIVALS.values()]
        ours = result["seconds"][OURS]
        lines.append([GANS[result["row"]].title, short(median(ours)[0]),
                      *(times(ratio(result["seconds"][way], ours)[0]) if way else "–" for way in best)])
    return table(["time ÷ ours", "ours", *RIVALS], lines)


def gan_table(result):
    """The table of one iteration in all ways: seconds, and the ratio to our seconds."""
    seconds = result["seconds"]
    return table([f"{GANS[result['row']].title}, batch {result['batch']}", "an iteration", "× ours"], [
        [title(way, result), short(median(seconds[way])),
         "–" if way == OURS else times(ratio(seconds[way], seconds[OURS]))] for way in ORDER if way in seconds])


def share_of_product(result):
    """(GFLOP a second of a matrix product; our iteration's share of that rate, its median and quartiles)."""
    product = result["seconds"][PRODUCT]
    rate = 2 * SIDE ** 3 / 1e9 / median(product)[0]
    needed = result["gflop"] / (2 * SIDE ** 3 / 1e9)  # so many products are as much work as an iteration
    return rate, median([needed * a / b for a, b in zip(product, result["seconds"][OURS], strict=True)])


def work_table(results):
    """The table of an iteration's work, and of our share of a matrix product's rate."""
    lines = []
    for result in results:
        rate, share = share_of_product(result)
        lines.append([GANS[result["row"]].title, f"{result['gflop']:.1f}", f"{rate:.0f}", percent(share)])
    return table(["iteration", "GFLOP", "a product's GFLOP/s", "ours, of that rate"], lines)


def growth_table(results):
    """The table of iterations with other batches and numbers of threads."""
    lines = []
    for result in results:
        seconds = result["seconds"]
        others = [rival(result, RIVALS[name]) for name in ("PyTorch", "PyTorch bf16")]
        speed = result["batch"] / median(seconds[OURS])[0]
        lines.append([result["row"], result["batch"], result["threads"], short(median(seconds[OURS])[0]),
                      f"{speed:.0f}", *(short(median(seconds[way])[0]) if way else "–" for way in others),
                      f"{share_of_product(result)[1][0]:.0%}"])
    return table(["row", "batch", "threads", OURS, "pictures/s", "PyTorch", "bf16", "of product"], lines)


def settings_table(result):
    """The table of the book's iteration without one setting at a time."""
    seconds = result["seconds"]
    return table(["book's iteration", "seconds", "× ours"], [
        [way if way == OURS else f"with {way}", short(median(values)),
         "–" if way == OURS else times(ratio(values, seconds[OURS]))] for way, values in seconds.items()])


def crop_table(result):
    """The table of cropping: time for a picture, ratio to the tutorial's script, decoding's share of the time."""
    seconds = result["seconds"]
    lines = []
    for way, (name, needs) in CROP.items():
        share = f"{median([a / b for a, b in zip(seconds[needs], seconds[way], strict=True)])[0]:.0%}" if needs else "–"
        faster = "–" if way == WRITTEN else times(ratio(seconds[WRITTEN], seconds[way]))
        lines.append([name, short(median(seconds[way])), faster, share])
    return table([f"cropping, {result['pictures']} pictures", "a picture", "× the script", "of which decoding"], lines)


def loader_table(result, celeba):
    """The table of loading: time for a batch, and its ratio to the time of a training iteration."""
    seconds = result["seconds"]
    lines = []
    for way, name in ((WRITTEN, "the tutorial's: scikit-image, two workers"), (OURS, "packed cache, no worker")):
        share = f"{median(seconds[way])[0] / median(celeba['seconds'][OURS])[0]:.1%}" if celeba else "–"
        faster = "–" if way == WRITTEN else times(ratio(seconds[WRITTEN], seconds[way]))
        lines.append([name, short(median(seconds[way])), faster, share])
    return table([f"loading, batch {result['batch']}", "a batch", "× the tutorial's", "of CelebA's iteration"], lines)


def grown(report):
    """The results of `--growth`, by threads first, without the result that both series contain."""
    results = [*report["growth"].get("threads", []), *report["growth"].get("batch", [])]
    return [result for number, result in enumerate(results) if result not in results[:number]]


def show(report):
    """Print all tables of a report, as `--json` writes it."""
    print(f"\n{line(report['machine'])}\n{report['rounds']} rounds: median (quartiles)")
    rows = {result["row"]: result for result in report["rows"]}
    gans = [rows[row] for row in GANS if row in rows]
    profiled = [result for result in gans if "profile" in result]
    operators = report.get("operators") or []
    tables = [*([summary_table(gans)] if gans else []), *map(gan_table, gans), *([work_table(gans)] if gans else []),
              *([shares_table(profiled)] if profiled else []),
              *(each for result in operators for each in operators_tables(result)),
              *([pair_table(rows["processes"])] if "processes" in rows else []),
              *([crop_table(rows["crop"])] if "crop" in rows else []),
              *([loader_table(rows["loader"], rows.get("celeba"))] if "loader" in rows else []),
              *([growth_table(grown(report))] if report["growth"] else []),
              *([settings_table(report["settings"])] if report["settings"] else [])]
    for text in tables:
        print(f"\n{text}")
    measured = [*report["rows"], *grown(report), *([report["settings"]] if report["settings"] else [])]
    turns = sum(len(values) for result in measured for values in result["seconds"].values())
    turns += sum(len(values) for result in operators for values in result["profiles"].values())
    disturbed = sum(result["disturbed"] for result in [*measured, *operators])
    print(f"\n{disturbed} of {turns} turns were disturbed by other processes, "
          f"which took more than {DISTURBED} of a core")
    if not all(result["fast operators"] for result in gans):
        print("\nthe fast operators could not be built: ours are Paddle's own here")
