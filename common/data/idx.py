"""Files of the idx format, in which MNIST and its relatives come."""

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np

from common.errors import UserError

LARGEST_IDX = 1 << 30  # bytes; EMNIST's largest part, by class, has 547 million


def read_idx(path):
    """The array in an idx file of unsigned bytes, plain or gzip-compressed, whatever its name says.

    Returns:
        (array, md5): uint8 array of the file's own shape, read whole: not a byte less or more than its header says;
        and the hexadecimal md5 of the unpacked file.

    Raises:
        UserError: unreadable, truncated, damaged, or no idx file.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as stream:
            header = stream.read(4)
            if len(header) < 4 or header[:3] != b"\0\0\x08" or not 1 <= header[3] <= 4:
                raise UserError(f"{path} is no idx file of bytes (it begins with {header!r}); "
                                "delete it and run again, or take the right file")
            dimensions = stream.read(4 * header[3])
            shape = tuple(map(int, np.frombuffer(dimensions[:len(dimensions) // 4 * 4], ">u4")))
            size = int(np.prod(shape, dtype=object))
            if size > LARGEST_IDX:
                raise UserError(f"{path} claims to hold {size} bytes, more than any known set; "
                                "delete it and run again")
            data = _read_upto(stream, size + 1)  # one more than there should be, to see the end
    except FileNotFoundError:
        raise UserError(f"there is no file {path}; check the name") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and run again") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; put a readable file there") from None
    if len(shape) != header[3] or len(data) != size:
        lack = "is cut short" if len(shape) != header[3] or len(data) < size else "has bytes behind its end"
        raise UserError(f"{path} {lack}: its header promises {shape}; delete it and run again")
    return np.frombuffer(data, np.uint8).reshape(shape), hashlib.md5(header + dimensions + data).hexdigest()


def _read_upto(stream, size):
    """Up to ``size`` bytes, in blocks: memory grows with what is there, not with what a header claims."""
    data = bytearray()
    while len(data) < size and (block := stream.read(min(1 << 20, size - len(data)))):
        data += block
    return data
