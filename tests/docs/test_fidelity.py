"""The fidelity page names every oddity of every tutorial: its place in the tutorial, its switch and what that does."""

import re
from pathlib import Path

import pytest

from common import recipe as recipes

PAGE = (Path(__file__).parents[2] / "docs" / "fidelity.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", recipes.names())
def test_each_oddity_has_its_row(name):
    recipe = recipes.load(name)
    module = recipe.gan.__module__.replace(".", "/")
    files = f"`{module}.py`", f"`{recipes.package_of(name)}/`"
    [section] = [text for text in PAGE.split("\n## ") if any(file in text.partition("\n")[0] for file in files)]
    rows = {}
    for line in section.replace("`", "").splitlines():
        if found := re.match(r"\|.*\| (.*) \| .*--fix (\w+): (.*) \|$", line):
            where, oddity, what = found.groups()
            rows[oddity] = where, what
    assert set(rows) == set(recipe.fixes)
    for oddity in recipe.oddities:
        where, what = rows[oddity.name]
        assert where.startswith(oddity.where) and what.startswith(oddity.what), oddity.name
