"""The numbers of docs/performance.md, docs/scaling.md and the READMEs are what the commands make of docs/logs."""

import re

import pytest

from common.errors import ROOT
from tools import benchmark, scaling

DOCS = ROOT / "docs"


def plain(cell):
    """A cell without what a page may write differently: spaces, code marks, a longer name."""
    cell = re.sub(r"  +", " ", cell.strip().replace("`", "")).replace(" %", "%")
    return cell.replace("conditional GAN", "conditional")


def tables(text):
    """All tables in a text: lists of rows, lists of cells."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        lines = [line for line in block.splitlines() if not re.fullmatch(r"[|: -]+", line)]
        found.append([[plain(cell) for cell in line.strip("|").split("|")] for line in lines])
    return found


def table(found, head, second=None):
    """The only table with this first cell, and with the second one if that is given."""
    [wanted] = [rows for rows in found if rows[0][0] == head and second in (None, rows[0][1])]
    return wanted


def prose(name):
    return " ".join((DOCS / name).read_text(encoding="utf-8").split())


@pytest.fixture
def log(capsys):
    """The tables that tools/benchmark.py prints of a log."""
    def log(name):
        benchmark.main(["--show", str(DOCS / "logs" / f"{name}.json")])
        return tables(capsys.readouterr().out)

    return log


PAGE = tables((DOCS / "performance.md").read_text(encoding="utf-8"))


def test_against_the_originals_and_pytorch(log):
    shown = log("bench_avx512")
    ratios = table(PAGE, "time ÷ ours")
    assert ratios == table(shown, "time ÷ ours")
    _, *columns = zip(*table(PAGE, "an iteration"), strict=True)
    for head, *times in columns:
        assert [time for time in times if time != "–"] == [row[1] for row in table(shown, head, "an iteration")[1:]]
    rates, shares = table(shown, "iteration"), table(shown, "share of ours")
    assert table(PAGE, "iteration", "GFLOP")[1:] == [
        rate + share[1:] for rate, share in zip(rates[1:], shares[1:], strict=True)]
    ours, original, _, pytorch = ([float(row[k].rstrip(" s×")) for row in ratios[1:] if row[k] != "–"]
                                  for k in (1, 2, 3, 4))
    for words in (f"an iteration takes {min(ours):.2f} to {max(ours):.2f} s",
                  "takes {} times as long for the book and {} times for note 6".format(*original),
                  f"takes {min(pytorch)} to {max(pytorch)} times as long in float32"):
        assert words in prose("performance.md")


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readmes_round_the_pages_numbers(name):
    [found] = [rows for rows in tables((ROOT / name).read_text(encoding="utf-8"))
               if len(rows[0]) == 6 and rows[1][0] == "book 09.gan"]
    exact = table(PAGE, "time ÷ ours")
    assert len(found) == len(exact)
    for row, wanted in zip(found[1:], exact[1:], strict=True):
        for cell, number in zip(row[1:], wanted[1:6], strict=True):
            assert (cell == "–") == (number == "–")
            if cell != "–":
                digits = float(cell.split()[0].rstrip("×")), float(number.split()[0].rstrip("×"))
                assert digits[0] == pytest.approx(digits[1], abs=0.0501 if number.endswith("×") else 0), row


def test_operators(log):
    shown = log("operators_avx512")
    assert len(shown) == 4 and all(rows in PAGE for rows in shown)


def test_the_earlier_version(log):
    shown, page = log("bench_paddle_3.3.1"), prose("performance.md")
    wanted = []
    for (name, _, product, rate), (head, *_) in zip(
            table(shown, "iteration")[1:], (rows[0] for rows in shown if rows[0][1:] == ["an iteration", "× ours"]),
            strict=True):
        listing, pytorch, ours = table(shown, head)[1:]
        wanted.append([name, listing[1], ours[1], pytorch[1], listing[2], pytorch[2],
                       f"{rate.split()[0]} of {product} GFLOP/s"])
    assert table(PAGE, "iteration", "listing")[1:] == wanted
    assert table(PAGE, "way")[1:] == table(shown, "cropping, 2000 pictures")[1:6]
    assert [row[1:] for row in table(PAGE, "", "seconds")[1:]] == [
        [seconds, ratio.split()[0]] for _, seconds, ratio in table(shown, "book's iteration")[1:]]
    (_, theirs, _, their_share), (_, packed, _, share) = table(shown, "loading, batch 128")[1:]
    many = {tuple(row[1:3]): row[4] for row in table(shown, "row")[1:]}
    ours = [row[1] for row in table(log("bench_paddle_2.6.2"), "time ÷ ours")[1:]]
    kept = [row[4] for row in table(log("bench_memory_kept"), "time ÷ ours")[1:]]
    for words in (
            f"took {packed.split(' (')[0]} from the packed cache without a worker, {share.replace('%', ' %')} of Ce",
            f"took {theirs.split(' (')[0]}, {their_share.replace('%', ' %')}.",
            f"made {many['32', '2']} pictures a second with a batch of 32, {many['128', '2']} with 128 and "
            f"{many['512', '2']} with 512; with one thread it made {many['128', '1']} with",
            "ours took {}, {}, {} and {}, in".format(*ours), "PyTorch took {}, {}, {} and {} as long".format(*kept)):
        assert words in page


def test_scaling(log, capsys, monkeypatch):
    """The Chinese page has the same numbers, see test_translation.py."""
    monkeypatch.setenv("GAN_FAST_OPS", "0")  # as the command sets it
    page = tables((DOCS / "scaling.md").read_text(encoding="utf-8"))
    [processes] = log("processes_avx512")
    assert processes in page
    scaling.main([])
    out = capsys.readouterr().out
    assert len(tables(out)) == 3 and all(rows in page for rows in tables(out))
    [once] = re.findall(r"^one process: (\S+ s) ", out, re.M)
    [gradients] = re.findall(r"^gradients: (\S+ MB) ", out, re.M)
    [(small, *norm)] = re.findall(r"^batch norm: (\d+) messages .*, (\S+ MB) with 2, (\S+ MB) with 64", out, re.M)
    for words in (f"(Zen 4), {once} an iteration of 128", f"gradients of {gradients}.", f"adds {small} small messages",
                  "{} with two processes and {} with 64".format(*norm)):
        assert words in prose("scaling.md")
