"""The numbers in docs/models.md and its Chinese twin, from the records of the generators that come with the project.

A page has blocks between ``<!-- generators -->`` or ``<!-- generator NAME -->`` and ``<!-- end -->``.
``tools/pack_generator.py --cards`` writes what is between.
"""

import re

from common import pretrained
from common.errors import ROOT
from common.evaluation import scores

DOCS = ROOT / "docs"
PICTURE = "pictures/pretrained_{}.png"
WEAKEST = 3  # how many of the classes that are recognised least a card names
WORDS = {
    "models.md": {
        "head": "| `--pretrained` | recipe | data | epochs, of the tutorial's | MB | FID | FID of real pictures |",
        "trained": "Trained for {epochs:g} epoch{s} (the tutorial: {all}) of {data}, {pictures:,} pictures, in "
                   "{step:,} iterations, seed {seed}, on Paddle {paddle}{arithmetic}. The file has "
                   "{size:.1f} MB in place of {before:.1f}.",
        "picture": "Pictures of the generator {name}, from seed 1",
        "rows": {"test": "real test pictures: the ceiling",
                 "halves": "half of the real pictures against the other half: the ceiling",
                 "untrained": "untrained: the floor", "run": "the run, before rounding",
                 "packed": "**this file**"},
        "columns": scores.COLUMNS,
        "arithmetic": "; arithmetic: {}", "weakest": "Classes recognised least: {}.",
        "unmeasured": "This file has not been measured.", "comma": ", "},
    "models.zh-CN.md": {
        "head": "| `--pretrained` | 教程 | 数据 | 轮数 / 教程的轮数 | MB | FID | 真实图片的 FID |",
        "trained": "用 {data}（{pictures:,} 张图片）训练了 {epochs:g} 轮（教程为 {all} 轮），共 {step:,} 次迭代，"
                   "种子 {seed}，Paddle {paddle}{arithmetic}。文件 {size:.1f} MB，量化前为 {before:.1f} MB。",
        "picture": "生成器 {name} 的图片，种子 1",
        "rows": {"test": "真实的测试图片：上限", "halves": "真实图片的一半对另一半：上限", "untrained": "未训练：下限",
                 "run": "量化前的模型", "packed": "**这个文件**"},
        "columns": {"fid": "FID", "kid": "KID（95 %）", "precision": "精确率", "recall": "召回率", "density": "密度",
                    "coverage": "覆盖率", "label agreement": "标签一致率"},
        "arithmetic": "；运算精度：{}", "weakest": "最难认出的类别：{}。", "unmeasured": "这个文件还没有评测。",
        "comma": "、"}}


def write(docs=DOCS):
    """Draw a grid of each generator, and bring both pages up to date.

    Returns:
        Lines with the paths of what was written.

    Raises:
        UserError: a generator's file is damaged, or a page cannot be written.
    """
    from common.files import replacing

    lines = []
    for name in pretrained.names():
        path = docs / PICTURE.format(name)
        grid(name, path)
        lines.append(f"{path}")
    for page in WORDS:
        text = rendered((docs / page).read_text(encoding="utf-8"), page)
        with replacing(docs / page) as temporary:
            temporary.write_text(text, encoding="utf-8")
        lines.append(f"{docs / page}")
    return lines


def grid(name, file=None):
    """Six rows of pictures of a generator, with at most twelve of its classes; as `common.generator.show`."""
    from common.generator import load, show

    gan = load(f"{pretrained.PREFIX}{name}")
    columns = min(len(gan.classes), 12) if gan.classes else 10
    classes = gan.classes[:columns] if gan.classes else None
    return show(gan.generate(6 * columns, 1, classes), file, columns, classes or ())


def rendered(text, page):
    """A page's text with all blocks as the files in ``common/weights`` have them now."""
    records = {name: pretrained.read(pretrained.path_of(name))[2] for name in pretrained.names()}

    def block(match):
        name = match["name"]
        if not name:
            lines = table(records, WORDS[page]) if records else []
        else:
            lines = card(name, records[name], WORDS[page]) if name in records else []
        return "\n".join([match["begin"], *lines, match["end"]])

    return re.sub(r"(?P<begin><!-- generators?(?: (?P<name>\S+))? -->)\n.*?(?P<end><!-- end -->)", block, text,
                  flags=re.DOTALL)


def table(records, words):
    """The lines of the table of all generators."""
    lines = [words["head"], "|" + "---|" * 7]
    for name, record in records.items():
        measured = record.get("measured", {})
        fids = [scores.digits(measured[row]["fid"], 4) if "fid" in measured.get(row, {}) else "–"
                for row in ("packed", "real")]
        trained = record["trained"]
        lines.append(f"| `{name}` | {record['config']['recipe']} | {record['config']['dataset']['name']} | "
                     f"{trained['epochs']:g} / {trained['epochs of the tutorial']} | {size(name):.1f} | "
                     f"{' | '.join(fids)} |")
    return lines


def card(name, record, words):
    """The lines of a generator's card: its picture, how it was trained, how good it is."""
    config, trained = record["config"], record["trained"]
    # `training.run` writes the arithmetic of --amp into the data set's note.
    arithmetic = (config["dataset"].get("note") or "").partition("arithmetic: ")[2]
    lines = [f"![{words['picture'].format(name=name)}]({PICTURE.format(name)})", "", words["trained"].format(
        epochs=trained["epochs"], s="s" * (trained["epochs"] != 1), all=trained["epochs of the tutorial"],
        data=config["dataset"]["name"], pictures=config["dataset"]["pictures"], seed=config["options"]["seed"],
        paddle=next((version for package, version in config["versions"].items() if package.startswith("paddle")), "?"),
        step=trained["step"], arithmetic=words["arithmetic"].format(arithmetic) if arithmetic else "",
        size=size(name), before=record["float32 bytes"] / 1e6), ""]
    if "measured" not in record:
        return [*lines, words["unmeasured"]]
    measured = record["measured"]
    columns = [column for column in scores.COLUMNS if column in measured["packed"]]
    lines += [f"| {measured['protocol']} | {' | '.join(words['columns'][column] for column in columns)} |",
              "|---|" + "---|" * len(columns)]
    for row in ("real", "untrained", "run", "packed"):
        values = measured[row]
        title = words["rows"][values["kind"] if row == "real" else row]
        lines.append(f"| {title} | {' | '.join(scores.cell(column, values) or '–' for column in columns)} |")
    if recall := measured["packed"].get("class recall"):
        weakest = sorted(recall, key=recall.get)[:WEAKEST]
        lines += ["", words["weakest"].format(words["comma"].join(f"{each} ({recall[each]:.0%})" for each in weakest))]
    return lines


def size(name):
    """The size of a generator's file in MB."""
    return pretrained.path_of(name).stat().st_size / 1e6
