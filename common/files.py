"""Safe files: written under a temporary name, then renamed, so that a reader never sees half a file."""

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
import tempfile
import threading
import tokenize
from pathlib import Path

from common.errors import UserError

LEFTOVERS = frozenset((
    "__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "@recycle", "#recycle", "#snapshot",
    "system volume information", "recycler", "lost+found", "icon\r", "__pycache__", "network trash folder",
    "temporary items", "picasa.ini"))  # of macOS, Windows, network drives, Linux and Python
KINDS = (
    (b"version https://git-lfs", "a Git LFS pointer in place of the file; git lfs pull brings the file itself"),
    (b"/annex/objects/", "a git-annex pointer in place of the file; git annex get brings the file itself"),
    (b"PK\x03\x04", "a zip archive"), (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "packed with gzip"), (b"BZh", "packed with bzip2"), (b"\xfd7zXZ\0", "packed with xz"),
    (b"(\xb5/\xfd", "packed with zstd"), (b"7z\xbc\xaf\x27\x1c", "a 7z archive"), (b"Rar!\x1a\x07", "a rar archive"),
    (b"%PDF", "a PDF, which is not read"), (b"8BPS", "a Photoshop picture, which is not read; convert it to PNG"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture, which is not read; convert it to PNG or JPEG"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture, which is not read; convert it to PNG or JPEG"),
    (b"\x89HDF\r\n", "an HDF5 file"), (b"MATLAB 5.0", "a MATLAB file"), (b"\x93NUMPY", "a NumPy array"),
    (b"MATLAB 7.3", "a MATLAB file of version 7.3, which is not read; save it in MATLAB with -v7"),
    (b"\0\0\x08", "an idx file"))
UNFINISHED = ".*.part.*"  # temporary files of `replacing` that a killed process leaves
WRITTEN = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".tga", ".jp2", ".pdf")
# Files by which `ours` knows a folder that our commands have written
CONFIG = "config.json"  # of a run
DRAWN = "generated.npy"  # of drawn pictures
COMPARED = "comparison.json"  # of a comparison
CROP_RECORD = ".crop.json"  # follows the name of a folder of cropped pictures, beside it
# What NumPy raises for a damaged or foreign .npy file
NPY_FAULTS = (OSError, EOFError, ValueError, TypeError, OverflowError, SyntaxError, tokenize.TokenError)
UMASK = threading.Lock()  # around its reading
NUMBERED = re.compile(r"(\d{4,6})_(\d{4,6})")  # epoch and batch, in the names of pictures and checkpoints


@contextlib.contextmanager
def replacing(path):
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block ends well.

    The temporary name keeps the suffix, because Pillow and matplotlib choose the format by it. If the
    block fails, or the process dies, ``path`` is as it was before.

    Raises:
        UserError: the folder cannot be written, or the disk is full; or a pipe or device is at ``path``.
    """
    path = Path(path)
    refuse_pipe(path)  # renaming would put a file in place of /dev/null
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
    """Write a value as indented JSON in UTF-8, safely, see `replacing`.

    Names of files that are no UTF-8 are written as JSON's escapes, so that they are read back unchanged.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        text = json.dumps(value, indent=2)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def write_arrays(path, arrays, metadata=None):
    """Write arrays and metadata as safetensors, safely, see `replacing`.

    Args:
        path: of the file.
        arrays: name → contiguous NumPy array.
        metadata: text → text, or None.

    Raises:
        UserError: as `replacing`.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    with replacing(path) as temporary:
        try:
            save_file(arrays, temporary, metadata)
        except SafetensorError as error:  # in place of an OSError, when the disk is full
            raise OSError(str(error).partition("\n")[0]) from error


def expanded(path):
    """A path that a user has typed, with ``~`` replaced by the home folder; unchanged if there is no such home.

    Raises:
        UserError: the path is empty, which would mean the current folder; or it is a link that leads back to itself.
    """
    if not str(path):
        raise UserError("an empty name is no path; name a file or folder, . for the current one")
    path = Path(os.path.expanduser(path))  # noqa: PTH111
    try:
        path.stat()
    except OSError as error:  # any other error is told where the path is used
        if error.errno == errno.ELOOP:
            raise UserError(f"{path} is a link that leads back to itself; name the file or folder itself") from None
    return path


def absolute(path):
    """`expanded`, from the root on: for paths that a run keeps, so that it can be resumed from any folder."""
    return expanded(path).absolute()


def cache_folder(name):
    """The folder where data are kept for later runs: ``~/.cache/NAME``.

    If the home folder cannot be written, as in a container of another user, it is a private folder of this user in the
    system's temporary folder.

    Args:
        name: such as "paddle/dataset/mnist", where Paddle itself keeps MNIST.

    Returns:
        The folder's path; the folder need not exist.
    """
    home = expanded("~")
    place = home / ".cache" / name
    nearest = next((path for path in (place, *place.parents) if os.path.lexists(path)), home)
    if home.is_absolute() and nearest.is_dir() and (nearest == place or os.access(nearest, os.W_OK | os.X_OK)):
        return place
    return _private(name)


def _private(name):
    """The path of a name in a folder of this user alone, in the system's temporary folder."""
    user = os.getuid()
    for number in range(100):
        own = Path(tempfile.gettempdir()) / f"paddle-gan-{user}{f'-{number}' * bool(number)}"
        with contextlib.suppress(FileExistsError):
            own.mkdir(mode=0o700)
        if not own.is_symlink() and own.is_dir() and own.stat().st_uid == user:
            return own / name  # in a folder that is not this user's, another user could put files
    raise UserError(f"the folders {own.parent}/paddle-gan-{user}… are other users'; let TMPDIR name another place")


def compiled_folder():
    """The folder of what is compiled once for this machine: in ``$XDG_CACHE_HOME``, else see `cache_folder`.

    What lies there is run. So where another user could have put it, the folder is a private one.
    """
    named, own = Path(os.environ.get("XDG_CACHE_HOME", "")), "paddle_gan_tutorials"
    place = named / own if named.is_absolute() else cache_folder(own)
    with contextlib.suppress(FileNotFoundError):
        found = place.stat()
        if found.st_uid not in (0, os.getuid()) or found.st_mode & stat.S_IWOTH:
            return _private(own)
    return place


def junk(name):
    """Whether a file or folder is none of the user's data: the operating system's own, or an unfinished file."""
    return (name.startswith((".", "~$", "$RECYCLE")) and name not in (".", "..")) or name.lower() in LEFTOVERS


def filled(path):
    """Whether there is a file at a path, or a folder with more in it than a system's own files."""
    return path.is_file() or path.is_dir() and not all(junk(each.name) for each in path.iterdir())


def ours(folder):
    """Whether one of our commands has written a folder, so that it holds no data of the user but crops.

    The folder holds a file that only our commands write, or cropped pictures' record lies beside it.
    """
    folder = folder.absolute()  # "." has no name
    try:
        if any((folder / name).is_file() for name in (DRAWN, COMPARED)) or \
                folder.with_name(folder.name + CROP_RECORD).is_file():
            return True
        refuse_pipe(folder / CONFIG)
        entries = [path for path in folder.iterdir() if not junk(path.name)]
        if entries and all(path.is_dir() and ours(path) for path in entries):  # a folder of runs
            return True
        with open(folder / CONFIG, encoding="utf-8") as stream:
            return "recipe" in json.load(stream)
    except (UserError, OSError, ValueError, TypeError):
        return False


def kind_of(head):
    """Recognise a file's kind by its first bytes, in words for a message.

    Args:
        head: the first 512 bytes or more; a shorter file's bytes.

    Returns:
        The words, with what to do; "" if the kind is unknown.
    """
    text = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "an empty file"
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page in place of the file; download it again with a browser"
    for start, words in KINDS:
        if head.startswith(start):
            return words
    if head[257:262] == b"ustar":
        return "a tar archive"
    if head[4:8] == b"ftyp":  # a container format of pictures as well as videos
        brand = {b"avi": "an AVIF", b"hei": "a HEIC", b"hev": "a HEIC", b"mif": "a HEIC"}.get(head[8:11])
        return f"{brand} picture, which is not read; convert it to PNG or JPEG" if brand else "a video"
    if text.startswith((b"<svg", b"<?xml")):
        return "an SVG or XML file, which is not read"
    return ""


def exists(path):
    """Whether there is a file or folder at a path.

    Raises:
        UserError: a folder above it may not be read.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise cannot_read(path, error) from None
    return True


def cannot_read(path, error):
    """The `UserError` of a file or folder that is there and may not be read; ``error`` is the system's."""
    return UserError(f"cannot read {path}: {error.strerror}; check its permissions")


def no_link(path, flags):
    """An ``opener`` of ``open`` that follows no link: in a shared folder another user could have put one there."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)  # Windows has no such flag


def refuse_pipe(path):
    """Refuse a pipe, socket or device in place of a file, because reading it could wait for ever.

    Raises:
        UserError: there is one at the path.
    """
    try:
        mode = path.stat().st_mode
    except OSError:  # there is nothing, or it is told where the path is used
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UserError(f"{path} is a pipe or device, not a file; name a file")


def refuse_other(path, mark, what, option="--output"):
    """Refuse to write over a file that is not an earlier one of the same kind, before minutes of work.

    Args:
        path: to be written.
        mark: bytes that a file of the kind has among its first 64 KiB.
        what: the kind, in words.
        option: that the path was named by.

    Raises:
        UserError: another file, a folder, a pipe or a device is there, or no folder is above it.
    """
    refuse_pipe(path)
    above = next(each for each in path.absolute().parents if os.path.lexists(each))
    if path.is_dir() or not above.is_dir():
        raise UserError(f"{path} cannot be a file: {path if path.is_dir() else above} is "
                        f"{'a' if path.is_dir() else 'no'} folder; choose another {option}")
    if path.is_file():
        with open(path, "rb") as stream:
            if mark not in stream.read(1 << 16):
                raise UserError(f"{path} is there and is no {what}; choose another {option}")


def picture_file(path):
    """Refuse a name that no picture is written under, before minutes of work.

    Returns:
        The path.

    Raises:
        UserError: it is a folder, a pipe or a device, or has no suffix of a picture.
    """
    refuse_pipe(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file in it that ends in .png")
    if path.suffix.lower() not in WRITTEN:
        raise UserError(f"{path} has no suffix of a picture that can be written; name a file that ends in .png")
    return path


def numbered(folder, suffix):
    """The files of a folder with epoch and batch in their names, such as ``0003_0120.png``, in order of training.

    Returns:
        [(path, epoch, batch)]; empty if there is no such folder.

    Raises:
        OSError: the folder cannot be read.
    """
    try:
        found = [(path, *map(int, match.groups())) for path in Path(folder).iterdir() if path.suffix == suffix
                 and (match := NUMBERED.fullmatch(path.stem)) and path.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, key=lambda item: item[1:])


def _umask():
    """The process's umask, which `tempfile` ignores. It can only be read by setting it."""
    with UMASK:
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
