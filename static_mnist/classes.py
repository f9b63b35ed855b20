"""The classes of a conditional GAN: numbering them, and finding the one that a user names."""

import numpy as np

from common.errors import UserError

COLUMNS = 5  # columns of a grid that shows one class


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
    """A name or number of a class, or several, as a list of texts."""
    return [str(name) for name in np.ravel(wanted)]


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


def number(classes, name):
    """The number of a class, from its name or number.

    Raises:
        UserError: there is no such class.
    """
    if name in classes:
        return classes.index(name)
    if name in ("all", "-1"):
        raise UserError(f"class {name} stands alone, without others")
    alike = [i for i, known in enumerate(classes) if known.lower() == name.lower()]
    if len(alike) == 1:
        return alike[0]
    if name.isdecimal() and int(name) < len(classes):
        return int(name)
    known = ", ".join(f"{i} {known}" if str(i) != known else known for i, known in enumerate(classes))
    raise UserError(f"there is no class {name!r}; this run has {known}, and all")
