"""Safe files: written aside, then renamed, so that a reader never sees half of one."""

import contextlib
import hashlib
import json
import os
import re
import tempfile
from pathlib import Path

from common.errors import UserError

UNFINISHED = ".*.part.*"  # what a process that was killed leaves of `replacing`


@contextlib.contextmanager
def replacing(path):
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block ends well.

    The temporary name keeps the suffix, because Pillow and matplotlib choose the format by it. If the
    block fails, or the process dies, ``path`` is as it was before.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=f".part{path.suffix}", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; "
                        "free some space or choose another place") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_json(path, value):
    """Write what JSON can hold, indented, in UTF-8; `replacing` the file."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def expanded(path):
    """A path with ``~`` as the home folder; as it is when there is no such home, where `Path.expanduser` raises."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def exists(path):
    """Whether there is something of that name.

    Raises:
        UserError: a folder on the way may not be read.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check its permissions") from None
    return True


def numbered(folder, suffix):
    """The files of a folder that are named after epoch and batch, ``0003_0120`` and a suffix, in order of training.

    Returns:
        [(path, epoch, batch)].
    """
    found = [(path, *map(int, match.groups())) for path in Path(folder).glob(f"*{suffix}")
             if (match := re.fullmatch(r"(\d{4,6})_(\d{4,6})", path.stem))]
    return sorted(found, key=lambda item: item[1:])


def _umask():
    """The process's umask, which `tempfile` ignores. It can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def checksum(path, algorithm="md5"):
    """The hexadecimal digest of a file."""
    digest = hashlib.new(algorithm)
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
