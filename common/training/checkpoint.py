"""Checkpoints: one safetensors file each, self-describing, checked when read, never half written.

The arrays are those of the networks and the optimisers, the constant noise, and the words of the random state. The
file's name has epoch and batch. Its header has a JSON record, with the step, the run's config and the position in the
random words, and a digest of the arrays and the record. Nothing is ever unpickled.

The newest checkpoints are whole: a run can be resumed from them. Older checkpoints are deleted; of
every fifth epoch, and of the best, the generator is kept.
"""

import hashlib
import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from common import recipe as recipes
from common.errors import UserError, say
from common.files import cannot_read, numbered, refuse_pipe, write_arrays

KEEP_LAST = 3  # this many of the newest checkpoints are kept whole
KEEP_EPOCHS = 5  # of the checkpoint after each fifth epoch the generator is never deleted
UNREADABLE = (SafetensorError, KeyError, ValueError, OSError)
GENERATOR = "generator_only"  # in the record of a checkpoint that keeps only the generator


def save(folder, epoch, batch, arrays, record, generator=None, best=None):
    """Write ``{epoch:04d}_{batch:04d}.safetensors``; delete older checkpoints, or reduce them to the generator.

    Args:
        folder: of the checkpoints.
        epoch: the epoch that a resumed run continues.
        batch: how many of its batches are done; 0 means that ``epoch`` epochs are complete.
        arrays: name → numpy array.
        record: a dictionary that JSON can hold.
        generator: names of the arrays that older checkpoints keep; None: all.
        best: file name of a checkpoint whose generator is not deleted; or None.

    Returns:
        The checkpoint's path.

    Raises:
        UserError: the file cannot be written, or the disk is full.
    """
    path = Path(folder) / f"{epoch:04d}_{batch:04d}.safetensors"
    write(path, arrays, record)
    for old in listing(folder)[:-KEEP_LAST]:
        epochs, batches = position(old)
        if (batches or epochs % KEEP_EPOCHS) and old.name != best:
            old.unlink(missing_ok=True)
        elif generator is not None:
            _reduce(old, generator)
    return path


def write(path, arrays, record):
    """Write arrays and a record with their digest, for `load`.

    Raises:
        UserError: the file cannot be written, or the disk is full.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps(record)
    write_arrays(path, arrays, {"record": text, "digest": _digest(arrays, text)})


def _reduce(path, generator):
    """Write a checkpoint anew with only the generator's arrays; a damaged or foreign checkpoint stays as it is."""
    try:
        if not whole(path):
            return
        arrays, record = load(path)
        write(path, {name: arrays[name] for name in generator}, {**record, GENERATOR: True})
    except UserError as error:  # the training itself has saved its checkpoint and can go on
        say(f"note: {error}")
    except KeyError as error:
        say(f"note: {path} has no {error}: it belongs to another recipe, and stays as it is")


def listing(folder):
    """The checkpoints in a folder, oldest first."""
    return [path for path, *_ in numbered(folder, ".safetensors")]


def position(path):
    """(epoch, batch) of a checkpoint, see `save`; (0, 0) for None, which means the state before the first step."""
    return tuple(map(int, path.stem.split("_"))) if path else (0, 0)


def load(path):
    """Read a whole checkpoint and check its digest.

    Returns:
        (arrays, record): name → numpy array, and the JSON record.

    Raises:
        UserError: the file cannot be read, is cut short, or was changed after it was written.
    """
    path = Path(path)
    with _whole(path), safe_open(path, "numpy") as file:
        header = file.metadata() or {}
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
        if _digest(arrays, header["record"]) != header["digest"]:
            raise UserError(f"{path} was altered or damaged after it was written; {another(path)}")
        return arrays, _record(header)


def read_record(path):
    """Read only a checkpoint's JSON record, without the arrays.

    Raises:
        UserError: the file cannot be read or is cut short.
    """
    path = Path(path)
    with _whole(path), safe_open(path, "numpy") as file:
        return _record(file.metadata() or {})


def _record(header):
    """The record in a file's header, with the present name of its recipe."""
    record = json.loads(header["record"])
    if "config" in record:
        record["config"]["recipe"] = recipes.current(record["config"]["recipe"])
    return record


@contextmanager
def _whole(path):
    """Turn any error in reading a checkpoint into a `UserError` of one line."""
    refuse_pipe(path)
    try:
        path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise UserError(f"there is no checkpoint {path}; those of a run are the files in its folder "
                        "checkpoints") from None
    except OSError as error:
        raise cannot_read(path, error) from error
    try:
        yield
    except UNREADABLE as error:
        raise UserError(f"{path} is no whole checkpoint of this project ({_line(error)}); "
                        f"{another(path)}") from error


def another(path):
    """Advice for a bad checkpoint, in words: use the newest other whole checkpoint in its folder, if there is one."""
    others = [other for other in listing(path.parent) if other != path and whole(other)]
    return f"move it away to go on from {others[-1].name}" if others else "no other is left in its folder to go on from"


def whole(path):
    """Whether a run can be resumed from a checkpoint, as far as its header tells."""
    try:
        with safe_open(path, "numpy") as file:
            return not json.loads(file.metadata()["record"]).get(GENERATOR)
    except (*UNREADABLE, TypeError):
        return False


def _line(error):
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _digest(arrays, text):
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def taken(arrays, name, shape):
    """``arrays[name]``, after a check of its shape.

    Raises:
        UserError: the array is missing or has another shape than ``shape``.
    """
    if name not in arrays:
        raise UserError(f"the checkpoint has no {name!r}: it belongs to another recipe or another --fix")
    if list(arrays[name].shape) != list(shape):
        raise UserError(f"the checkpoint's {name!r} has shape {list(arrays[name].shape)}, "
                        f"this network's has {list(shape)}: it belongs to another network")
    return arrays[name]


def pack_random(random):
    """(array, record) of a ``numpy.random.RandomState``: its 624 words and its position in them."""
    state = random.get_state(legacy=False)
    return state["state"]["key"], {"pos": int(state["state"]["pos"]), "has_gauss": int(state["has_gauss"]),
                                   "gauss": float(state["gauss"])}


def unpack_random(array, record):
    """The ``numpy.random.RandomState`` that `pack_random` took apart."""
    random = np.random.RandomState()
    random.set_state({"bit_generator": "MT19937", "state": {"key": array, "pos": record["pos"]},
                      "has_gauss": record["has_gauss"], "gauss": record["gauss"]})
    return random
