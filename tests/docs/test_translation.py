"""Each Chinese page has the code, the numbers in tables and the links of its English page."""

import re

import pytest

from common.errors import ROOT

PAGES = sorted([*ROOT.glob("*.zh-CN.md"), *ROOT.glob("docs/*.zh-CN.md")])
BLOCK = re.compile(r"^ *```(.*)\n((?:.*\n)*?) *```$", re.M)


def code(text):
    """The code blocks without comments, and the first cells that are code. A block without a language is prose."""
    found = []
    for language, block in BLOCK.findall(text):
        lines = [re.sub(r"(^|\s+)#.*", "", line).rstrip() for line in block.splitlines()]
        if language:
            found.append((language, [line for line in lines if line]))
    return found + re.findall(r"^\| (`[^`]+`) \|", text, re.M)


def numbers(text):
    """The numbers in each row of the tables, sorted; a tutorial's name is none."""
    rows = [line.replace("note 6", "") for line in BLOCK.sub("", text).splitlines() if line.startswith("|")]
    return [sorted(re.findall(r"\d+(?:[.,]\d+)*", row)) for row in rows]


def links(text):
    """The targets of all links, sorted, without the names of headings and languages."""
    found = re.findall(r"\]\(([^)\s]+)\)|\]\[([^\]]*)\]|^\[[^\]]+\]: (\S+)", BLOCK.sub("", text), re.M)
    return sorted(re.sub(r"\.zh-CN|(?<=#).*|(?<=/docs/)(zh|en)(?=/)|(?<=_)(cn|en)(?=\.html)", "", "".join(target))
                  for target in found)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
@pytest.mark.parametrize("part", [code, numbers, links])
def test_both_pages_have_the_same(page, part):
    english, chinese = (path.read_text(encoding="utf-8") for path in (
        page.with_name(page.name.replace(".zh-CN", "")), page))
    assert part(chinese) == part(english)
    assert part((ROOT / "README.md").read_text(encoding="utf-8"))  # it finds something
