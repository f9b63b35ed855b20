"""The classes of a conditional GAN: numbering them, and finding the one that a user names."""

import hashlib
from dataclasses import replace
from unicodedata import normalize

import numpy as np

from common.errors import UserError

NAMED = 6  # classes in a note
COLUMNS = 5  # columns of a grid that shows one class


def chosen(pictures, wanted):
    """Only the pictures of some classes of a data set.

    Args:
        pictures: `common.data.datasets.Pictures`.
        wanted: names or numbers of its classes, as text; empty or ``["all"]``: all.

    Returns:
        `common.data.datasets.Pictures` whose labels number the chosen classes, in the set's order.

    Raises:
        UserError: there is no such class, there are no pictures of it, or only one is chosen.
    """
    if every(wanted) or pictures.labels is None:
        return pictures
    numbers = sorted({number(pictures.classes, name, pictures.name) for name in wanted})
    if len(numbers) < 2:
        raise UserError(f"--classes names one class, {pictures.classes[numbers[0]]}; a conditional GAN wants two at "
                        "least")
    if missing := sorted({*numbers} - {*np.unique(pictures.labels).tolist()}):
        raise UserError(f"--classes: {pictures.name} in {pictures.source} has no pictures of the class "
                        f"{pictures.classes[missing[0]]}; leave it out")
    kept = np.isin(pictures.labels, numbers)
    images, labels = pictures.images[kept], np.searchsorted(numbers, pictures.labels[kept])
    digest = hashlib.md5(images)
    digest.update(labels)
    return replace(pictures, images=images, labels=labels, checksum=digest.hexdigest(),
                   classes=tuple(pictures.classes[each] for each in numbers))


def every(wanted):
    """Whether ``--classes`` asks for all classes of a data set; ``wanted`` is its value, None in an old run."""
    return not wanted or wanted == ["all"]


def note(classes):
    """The note, for titles, that a run was trained on these classes alone."""
    more = f" and {len(classes) - NAMED} more" if len(classes) > NAMED else ""
    return f"only the classes {', '.join(classes[:NAMED])}{more}"


def present(pictures):
    """Number the classes of a data set that have pictures, in order.

    Returns:
        (labels [N] from 0, the names of the classes).

    Raises:
        UserError: the pictures have no labels, or only one class, or a height or width that is no multiple of 4.
    """
    height, width = pictures.images.shape[1:3]
    if height % 4 or width % 4:
        raise UserError(f"the pictures have {width}×{height} pixels, but a conditional GAN wants multiples of 4; "
                        "--resize brings those of a folder to 28×28")
    if pictures.labels is None:
        raise UserError(f"{pictures.name} in {pictures.source} has no labels, which a conditional GAN needs; "
                        "put the file of labels beside the images, or pictures into a sub-folder for each class")
    found, labels = np.unique(pictures.labels, return_inverse=True)
    classes = [pictures.classes[i] for i in found]
    if len(classes) < 2:
        raise UserError(f"all pictures belong to one class, {classes[0]}; a conditional GAN wants two at least")
    return labels, classes


def one_hot(classes, wanted, rows, columns, by_row=False):
    """Labels [rows·columns, classes] for a grid, row by row.

    Args:
        classes: the names of all classes.
        wanted: names or numbers of classes, as text, or ``["all"]``; one column for each, repeated to fill the grid.
        rows, columns: of the grid.
        by_row: one row for each class, not one column.

    Raises:
        UserError: there is no such class.
    """
    every = wanted in (["all"], ["-1"])
    numbers = range(len(classes)) if every else [number(classes, name) for name in wanted]
    row, column = np.divmod(np.arange(rows * columns), columns)
    return np.eye(len(classes))[np.take(numbers, row if by_row else column, mode="wrap")]


def named(wanted):
    """A name or number of a class, or several, as a list of texts; raises `UserError` if there is none."""
    names = [str(name) for name in np.ravel(wanted)]
    if not names:
        raise UserError("no class is named; name one or several, or all")
    return names


def above(classes, labels, columns):
    """The name of the class above each column; no names if a column has several classes, or all columns the same one.

    Args:
        classes: the names of all classes.
        labels: one-hot, [rows·columns, classes].
        columns: of the grid.
    """
    numbers = labels.argmax(1).reshape(-1, columns)
    told = (numbers == numbers[0]).all() and np.ptp(numbers) > 0
    return [classes[number] for number in numbers[0]] if told else []


def columns(classes, wanted):
    """How many columns a grid of the wanted classes has: five for a single class, else one for each class."""
    if wanted == ["all"]:
        return len(classes)
    return len(wanted) if len(wanted) > 1 else COLUMNS


def number(classes, name, owner="this run"):
    """The number of a class, from its name or number. Where all names are numbers, only names count.

    Args:
        classes: the names of all classes.
        name: a name or number, as text.
        owner: whose classes they are, for the message.

    Raises:
        UserError: there is no such class.
    """
    # A folder's name from macOS may have its accents as characters of their own; a keyboard types é as one
    *classes, name = (normalize("NFC", text) for text in (*classes, name))
    if name in classes:
        return classes.index(name)
    if name in ("all", "-1") and owner == "this run":  # to draw; a training has no -1
        raise UserError(f"{name} cannot be combined with other classes; name it alone")
    alike = [i for i, known in enumerate(classes) if known.lower() == name.lower()]
    if len(alike) == 1:
        return alike[0]
    by_name = all(known.isdecimal() for known in classes)  # a run on MNIST's 3 and 8 has no class 0 or 1
    if name.isdecimal() and not by_name and int(name) < len(classes):
        return int(name)
    known = ", ".join(known if by_name else f"{i} {known}" for i, known in enumerate(classes))
    raise UserError(f"there is no class {name!r}; {owner} has {known}" + (", and all" if owner == "this run" else ""))
