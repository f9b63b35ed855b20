"""From profiles: the operators of an iteration, and an estimate of the gain by more threads."""

import re

from tools.bench.text import median, percent, short, table
from tools.bench.ways import GANS

PARTS = {  # part of an iteration → words in its operators' names; the first part with a matching word counts
    "convolutions": r"conv",
    "dense": r"matmul|addmm|linear|dense|bias|^(mul|fc)(_|$)",
    "normalisation": r"norm",
    "optimiser": r"adam|sgd|momentum",
}
OUTSIDE = "outside of operators"  # feeding, fetching, Python
LEAST = 0.005  # an operator with a smaller share of an iteration gets no line of its own
SCALES = 1.7  # with two threads an operator should be this many times as fast; else its bytes a second are shown
AHEAD = (4, 8, 16)  # numbers of threads to estimate the time for


def part(operator):
    """The part of an iteration that an operator belongs to, or ``rest``."""
    return next((name for name, pattern in PARTS.items() if re.search(pattern, operator)), "rest")


def shares(profile):
    """Each part's share of a profiled iteration; time outside of operators belongs to ``rest``."""
    seconds = dict.fromkeys([*PARTS, "rest"], 0.0)
    for operator, (_, took) in profile["operators"].items():
        seconds[part(operator)] += took
    seconds["rest"] += profile["seconds"] - sum(seconds.values())
    return {name: value / profile["seconds"] for name, value in seconds.items()}


def shares_table(results):
    """The table of `shares`, for the rows that have a profile."""
    return table(["share of ours", *PARTS, "rest"], [
        [GANS[result["row"]].title, *(percent(share) for share in shares(result["profile"]).values())]
        for result in results])


def middle(profiles):
    """Median seconds of each operator, and of `OUTSIDE`, over profiles of one kind; a missing operator counts as 0."""
    names = dict.fromkeys(name for profile in profiles for name in profile["operators"])
    took = {name: float(median([profile["operators"].get(name, (0, 0.0))[1] for profile in profiles])[0])
            for name in names}
    whole = float(median([profile["seconds"] for profile in profiles])[0])
    return {**took, OUTSIDE: max(0.0, whole - sum(took.values()))}


def serial(one, two):
    """The serial seconds of a piece of work, by Amdahl's law.

    The work takes ``one`` seconds with one thread, and ``two`` = serial + (one − serial) / 2 seconds with two. The
    result is kept within 0 … ``one``, because measurements are noisy.
    """
    return min(max(2 * two - one, 0.0), one)


def operators_tables(result):
    """Two tables: the larger operators with one thread and with two; the estimate of an iteration with more threads.

    The last column has the bytes a second with two threads of an operator that scales less than `SCALES`, in a file
    that has the bytes, and their share of the rate at which the machine copies memory.
    """
    one, two = (middle(result["profiles"][count]) for count in ("1", "2"))
    copies = [result["copies"][count] for count in ("1", "2")]
    whole = sum(two.values())
    names = sorted({*one, *two}, key=lambda name: -two.get(name, 0.0))
    times = {name: (one.get(name, 0.0), two.get(name, 0.0)) for name in names}
    small = [name for name in names if times[name][1] < LEAST * whole and name != OUTSIDE]
    lines = [(name, *times[name]) for name in names if name not in small]
    lines.append((f"{len(small)} smaller ones", *(sum(times[name][i] for name in small) for i in (0, 1))))
    stays = sum(serial(*each) for each in times.values())
    total = sum(one.values())
    lines.append(("all", total, whole))
    title = f"{GANS[result['row']].title}, batch {result['batch']}"
    size = result["profiles"]["2"][0].get("bytes", {})  # the same in all profiles

    def rate(name, one, two):
        if name not in size or not two or one / two >= SCALES:
            return "–"
        return f"{size[name] / two / 1e9:.0f} GB/s, {size[name] / two / copies[1]:.0%}"

    first = table([title, "share", "1 thread", "2 threads", "×", "of copies"], [
        *([name, f"{b / whole:.1%}", short(a), short(b), f"{a / b:.2f}" if b else "–", rate(name, a, b)]
          for name, a, b in lines),
        ["memory copies", "–", *(f"{rate / 1e9:.1f} GB/s" for rate in copies), f"{copies[1] / copies[0]:.2f}", "–"]])
    second = table([title, "serial", *(f"{count} threads" for count in AHEAD)], [
        ["expected by Amdahl's law", f"{short(stays)}, {stays / total:.0%}",
         *(short(stays + (total - stays) / count) for count in AHEAD)]])
    return first, second
