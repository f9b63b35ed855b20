"""The numbers of a comparison on arrays whose answers are known, and verdicts that are not given lightly."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from common.comparison import chance
from common.comparison.chance import entropy, interval, proportion_interval, twin_groups, verdict
from common.comparison.picture_rows import picture_rows
from common.comparison.sets import Row, Sets, alike, as_json
from common.comparison.shown import save_picture, summary, table
from common.errors import UserError
from common.evaluation.features import resized
from common.evaluation.pixels import brightness, contrast, nearest, sharpness, stretched


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    """Every verdict here is clear with a quarter of the bootstrap's draws."""
    monkeypatch.setattr(chance, "RESAMPLES", 500)


def noise(count, seed, size=8, channels=1, scale=0.4):
    return np.random.RandomState(seed).normal(0, scale, [count, size, size, channels]).clip(-1, 1).astype("float32")


class Mean:
    """Features of a picture: the means of its rows."""

    name = "rows"
    labels = None

    def features(self, pictures):
        return pictures.mean(axis=(2, 3))


class Halves(Mean):
    """A classifier: is the upper or the lower half brighter?"""

    labels = ("upper", "lower")

    def probabilities(self, pictures):
        half = pictures.shape[1] // 2
        upper = 1 / (1 + np.exp(-5 * (pictures[:, :half] - pictures[:, half:]).mean(axis=(1, 2, 3))))
        return np.stack([upper, 1 - upper], axis=1)


def test_sharpness_contrast_and_brightness_of_known_pictures():
    flat = np.zeros([1, 8, 8, 1], "float32")
    checkers = ((np.indices([8, 8]).sum(axis=0) % 2) * 2 - 1).astype("float32")[None, ..., None]
    assert sharpness(flat) == contrast(flat) == 0
    # Each pixel's four neighbours are of the other colour: the Laplacian is ±4, by reflection at the rim too.
    assert sharpness(checkers)[0] == pytest.approx(16)
    assert contrast(checkers)[0] == pytest.approx(127.5)
    assert brightness(flat)[0] == pytest.approx(127.5)
    assert brightness(checkers - 2).item() < 0  # no clipping


def test_pictures_are_made_alike():
    sets = Sets(noise(5, 0, 20, 3), noise(3, 1, 10), tutorial_real=noise(2, 2, 30, 3), train=noise(4, 3, 12, 3))
    made = alike(sets)
    assert {kind: pictures.shape for kind, pictures in made.each()} == {
        "tutorial": (3, 10, 10, 1), "ours": (3, 10, 10, 1), "tutorial_real": (2, 10, 10, 1)}
    assert made.train.shape == (4, 10, 10, 1)
    np.testing.assert_array_equal(made.ours, sets.ours)
    halved = resized(noise(1, 0, 4), (2, 2))
    np.testing.assert_allclose(halved[0, 0, 0], noise(1, 0, 4)[0, :2, :2].mean(), atol=1e-6)
    assert alike(Sets(noise(2, 0, 9, 3), noise(2, 0, 9, 3))).ours.shape == (2, 9, 9, 3)


def test_stretching_is_each_pictures_own():
    pictures = np.float32([[0.0, 0.5], [-1.0, -1.0]]).reshape(2, 1, 2, 1)
    np.testing.assert_allclose(stretched(pictures).reshape(2, 2), [[-1, 1], [-1, -1]])


def test_the_nearest_other_picture():
    pictures = np.zeros([3, 2, 2, 1], "float32")
    pictures[1], pictures[2] = 0.1, 1
    numbers, distances, _ = nearest(pictures, pictures, among_themselves=True)
    assert numbers.tolist() == [1, 0, 1]
    np.testing.assert_allclose(distances, [12.75, 12.75, 0.9 * 127.5], rtol=1e-4)
    numbers, distances, _ = nearest(pictures[1:], pictures)
    assert numbers.tolist() == [1, 2] and not distances.any()


def test_entropy():
    assert entropy(np.arange(8)) == pytest.approx(3)
    assert str(entropy(np.zeros(5, int))) == "0.0"  # and not -0.0


def test_an_interval_covers_the_difference_and_narrows():
    random = np.random.RandomState(1)
    wide = interval(random.normal(0, 1, 30), random.normal(1, 1, 30))
    narrow = interval(random.normal(0, 1, 3000), random.normal(1, 1, 3000))
    assert wide[0] < 1 < wide[1] and narrow[0] < 1 < narrow[1]
    assert narrow[1] - narrow[0] < (wide[1] - wide[0]) / 5
    assert interval(np.zeros(9), np.zeros(9)) == (0, 0)
    assert interval(np.ones(9), np.ones(9), groups=(None, np.zeros(9, int))) is None  # one group alone


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_few_pictures_hardly_ever_differ_by_chance(count):
    random = np.random.RandomState(0)
    verdicts = [verdict(interval(*random.normal(size=[2, count])), count) for _ in range(200)]
    assert verdicts.count("differs") <= 8  # of 200, where 2 are promised


def test_twins_tell_one_thing_together():
    """Sixteen pictures, eight times each, are no more than sixteen."""
    few, many = noise(16, 0), noise(128, 1)
    groups = twin_groups(few[np.arange(128) % 16] + noise(128, 2, scale=0.01), 20)
    assert len(set(groups)) == 16 and all(len(set(groups[first::16])) == 1 for first in range(16))
    assert len(set(twin_groups(many, 20))) == 128
    random = np.random.RandomState(3)
    once, others = random.normal(size=16), random.normal(size=128)
    wide, narrow = (np.ptp(interval(once[np.arange(128) % 16], others, groups=(each, None)))
                    for each in (groups, None))
    assert wide > 2 * narrow
    by_sixteen = np.ptp(interval(once, others))
    assert wide == pytest.approx(by_sixteen, rel=0.1)
    other = interval(once[np.arange(128) % 16], others, np.median, (groups, None))
    assert np.ptp(other) > 2 * np.ptp(interval(once[np.arange(128) % 16], others, np.median))


def test_a_figure_that_shows_pictures_again_and_again_makes_no_difference():
    """Eight kinds of pictures from one source on both sides; the figure shows each of its own eight times."""
    random = np.random.RandomState(5)

    def drawn(count, seed):
        pictures = noise(count, seed, scale=0.2)
        pictures[np.arange(count), random.randint(0, 8, count)] += 0.5  # one row of each is bright
        return pictures

    found = []
    for seed in (0, 20):
        again = drawn(16, seed)[np.arange(128) % 16] + noise(128, seed + 1, scale=0.001)
        table = rows(Sets(again, drawn(128, seed + 2), real=drawn(300, seed + 3)))
        found += [row for name, row in table.items() if name.startswith(("entropy", "pictures a class", "KID"))]
        assert table["share of pictures with a twin"].verdict == "differs"
    assert len(found) == 6
    assert [row.verdict for row in found].count("differs") <= 1
    assert all("16 of the tutorial's 128 pictures count, the others" in row.note for row in found)

    ours = drawn(128, 7)
    ours = ours[np.argsort(ours[:, :4].mean(axis=(1, 2, 3)))]  # sorted, as a folder or a grid of classes may be
    sets = Sets(again, ours, groups=np.arange(128) % 16)
    assert abs(sets.single.ours.mean() - ours.mean()) < 0.01 and len(sets.single.ours) == 16
    assert Sets(again, ours).single.tutorial is again
    copies = rows(Sets(noise(1, 0)[np.zeros(20, int)], noise(20, 1)))  # one picture only, and no real ones
    assert copies["KID"].verdict.startswith("not measured")
    assert copies["share of pictures with a twin"].tutorial == 1


def test_no_twins_in_a_few_pictures_are_not_none_for_certain():
    row = rows(Sets(noise(16, 0), noise(16, 1), real=noise(64, 2)))["share of pictures with a twin"]
    assert row.tutorial == row.ours == 0
    assert row.interval[0] < -0.1 and row.interval[1] > 0.1


def rows(sets, features=None, **options):
    return {row.name.partition(" (")[0]: row for row in picture_rows(sets, features or Halves(), **options)}


def test_pictures_of_one_kind_hardly_ever_differ():
    """One row in a hundred may differ by chance."""
    found = []
    for seed in range(5000, 5015, 5):
        parts = [noise(64, seed + part) for part in range(4)]
        sets = Sets(parts[0], parts[1], parts[2], parts[3], train=noise(200, seed + 99), held_out=True)
        found += [row.verdict for row in rows(sets).values()]
    assert len(found) == 30
    assert found.count("differs") <= 2
    assert all(re.fullmatch(r"differs|no difference that 6\d pictures can show", verdict) for verdict in found)


def test_pictures_of_another_kind_differ():
    real = noise(128, 9)
    ours = noise(64, 1, scale=0.2) + 0.3
    ours[:, :4] += 0.5
    found = rows(Sets(noise(64, 0), ours, noise(64, 2), real))
    for name in ("sharpness", "contrast", "brightness", "confidence", "entropy of the classes, bits of 1.00",
                 "pictures a class, upper lower", "KID to 128 real pictures"):
        assert found[name].verdict == "differs", found[name]
    assert found["brightness"].ours > found["brightness"].tutorial
    assert found["brightness"].interval[0] > 0
    assert found["pictures a class, upper lower"].ours == "64 0"


def test_the_interval_of_a_share_stays_within_what_a_share_can_be(monkeypatch):
    for tutorial, ours, counts in ((0, 1, (64, 64)), (0.016, 1, (64, 64)), (0, 0, (8, 8)), (0.5, 0.5, (3, 3))):
        low, high = proportion_interval(tutorial, ours, counts)
        assert -1 <= low < ours - tutorial <= high <= 1 and high - low > 0.1
    monkeypatch.setattr(chance, "LEVEL", 0.95)
    assert proportion_interval(48 / 80, 56 / 70, (80, 70)) == pytest.approx((0.0524, 0.3339), abs=1e-4)  # Newcombe's


def test_a_generator_that_has_collapsed_is_told_so():
    """A single picture over and over, which the bootstrap of groups of twins could tell nothing of."""
    ours = noise(1, 1)[np.zeros(64, int)] + noise(64, 2, scale=0.001)
    found = rows(Sets(noise(64, 3), ours, real=noise(128, 4)))
    row = found["share of pictures with a twin"]
    assert (row.ours, row.verdict, row.better) == (1, "differs", "lower is better") and row.interval[1] <= 1
    assert summary(found.values()).startswith("Verdict: the generator has collapsed, 100% of its pictures have a twin")


def test_the_verdict_tells_worse_from_better():
    def row(name, tutorial, ours, better, **more):
        return Row(name, tutorial, ours, (1, 2), "differs", better=better, **more)

    worse = [row("a (unit)", 1, 2, "lower is better"), row("b, more", 2, 1, "higher is better"),
             row("c", 5, 9, "best like real pictures", real=6, tutorial_real=5), row("d", "1 2", "2 1", "")]
    better = [row("e", 2, 1, "lower is better"), row("f", 9, 5, "best like real pictures", real=6)]
    same = Row("g", 1, 1, (-1, 1), "no difference that 5 pictures can show", better="lower is better")
    assert summary([*worse, *better, same]) == (
        "Verdict: of 7 rows 6 differ from the tutorial: worse in a, b, c; better in e, f; other in d.")
    assert summary([same]) == "Verdict: of 1 rows none differs from the tutorial."
    untested = [Row("h", 1, 9, verdict=verdict) for verdict in (
        "one curve each: no interval", "not measured: too few pictures", "2 batches are too few to tell")]
    assert summary([same, *untested]) == "Verdict: of 1 rows none differs from the tutorial. Not tested: 3."
    assert summary(untested) == "Verdict: none, for no row could be tested."
    text = "\n".join(table([*worse, same]))
    assert max(map(len, text.splitlines())) <= 80
    text = " ".join(text.split())
    assert text.endswith(summary([*worse, same]))
    assert "no difference that 5 pictures can show (ours − tutorial -1 … +1); lower is better" in text


def test_noise_does_not_read_as_learnt_by_heart():
    """Grey pictures lie nearer to any training picture than real ones do, and copies of none."""
    train = noise(100, 0)
    row = rows(Sets(noise(20, 1), noise(20, 2, scale=0.01), real=noise(20, 3), train=train, held_out=True))[
        "distance to the nearest training picture"]
    assert row.ours < row.real and row.note.endswith("no sign of pictures learnt by heart")


def test_learnt_by_heart():
    train, numbers = noise(100, 0), []
    sets = Sets(noise(20, 1), train[40:60] + noise(20, 2, scale=0.01), real=noise(20, 3), train=train, held_out=True)
    row = rows(sets, numbers=numbers)["distance to the nearest training picture"]
    assert numbers == list(range(40, 60))
    assert row.ours < 2 < row.real and row.verdict == "differs"
    assert "100% of ours and 0% of real ones are as near as copies: some are learnt by heart" in row.note
    near = train[40:60] + noise(20, 2, scale=0.05)  # at a distance of 6, where real pictures have 59
    shown = rows(replace(sets, ours=near, tutorial_real=train[:20]))["distance to the nearest training picture"]
    assert shown.tutorial_real == 0 and shown.ours_better is False  # real pictures of the training are no measure
    itself = Sets(noise(20, 1), noise(20, 2), real=train[:20], train=train)  # nothing was held out
    row = rows(itself)["distance to the nearest training picture"]
    assert row.real > 10 and "0% of real ones" in row.note  # each is left out where it is looked for
    single = rows(Sets(noise(20, 1), noise(20, 2), noise(20, 4), noise(1, 3), train, True))
    assert "no sign of pictures learnt by heart" in single["distance to the nearest training picture"].note
    assert single["share of pictures with a twin"].real == 0


def test_what_is_missing_is_left_out():
    found = rows(Sets(noise(12, 0), noise(12, 1)), Mean())
    assert list(found) == ["sharpness", "contrast", "brightness", "KID of ours to the tutorial's",
                           "share of pictures with a twin"]
    row = found["KID of ours to the tutorial's"]
    assert row.tutorial is None and row.interval is None and row.note.startswith("95 % interval ")  # no difference
    assert "of the tutorial's pictures 1 % have so near a neighbour" in found["share of pictures with a twin"].note
    assert rows(Sets(noise(12, 0), noise(12, 1) + 1), Mean())["KID of ours to the tutorial's"].verdict == "differs"
    few = rows(Sets(noise(8, 0), noise(8, 1)), Mean())["KID"]
    assert few.verdict.startswith("not measured: a kernel distance wants")
    with pytest.raises(UserError, match="one picture alone"):
        rows(Sets(noise(1, 0), noise(8, 1)))


@pytest.mark.parametrize("count", [1, 2])
def test_a_run_of_one_or_two_training_pictures(count):
    train, numbers = noise(count, 2), []
    found = rows(Sets(noise(12, 0), noise(12, 1), real=train, train=train), numbers=numbers)
    assert ("distance to the nearest training picture" in found) == (len(numbers) == 12) == (count == 2)
    assert found["share of pictures with a twin"].real == 0


def test_table_and_json_say_the_same():
    found = list(picture_rows(Sets(noise(12, 0), noise(12, 1), noise(12, 2)), Halves()))
    text = "\n".join(table(found))
    for row in json.loads(json.dumps(as_json(found))):
        assert row["name"] in text and row["verdict"] in text
        if not isinstance(row["ours"], str):
            assert f"{row['ours']:.4g}" in text
    assert set(row) == {"name", "tutorial", "ours", "interval", "verdict", "real", "tutorial_real", "note", "better"}


def test_the_picture_shows_every_panel(tmp_path):
    panels = [("one", noise(5, 0)), ("two", noise(70, 1, 10, 3)), ("three", noise(64, 2))]
    sizes = []
    for count in (1, 3):
        save_picture(tmp_path / "comparison.png", panels[:count])
        with Image.open(tmp_path / "comparison.png") as image:
            sizes.append(image.size)
    assert sizes[1][0] > 2.5 * sizes[0][0]
