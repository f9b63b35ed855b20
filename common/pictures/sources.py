"""The files of a folder and its sub-folders, or of a zip or tar archive without unpacking it."""

import bz2
import gzip
import lzma
import os
import stat
import sys
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from common.errors import UserError
from common.files import cache_folder, cannot_read, junk, kind_of, ours
from common.pictures.picture import BadPicture, Unread

KEPT_SUFFIXES = (".jpg", ".jpeg", ".png")  # a cropped picture keeps its name if it has one of these suffixes
CACHE = "paddle/dataset/celeba"  # in the cache folder
HEAD = 512  # first bytes of a file, from which its kind is recognised
LARGEST_UNPACKED = 64 << 30  # bytes of a compressed tar archive
LONGEST_HEADER = 1 << 20  # bytes of a header in it, such as a long name
READ_WHOLE = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
              tarfile.SOLARIS_XHDTYPE)  # the headers that tarfile reads whole
READ = "name a folder, or a zip or tar archive"
DENSE = (12, 14)  # bzip2 and LZMA: zipfile unpacks a whole block at once, without a limit on the result
PACKINGS = {9: "Deflate64", 1: "Shrink", 6: "Implode", 93: "Zstandard", 95: "XZ", 98: "PPMd"}


class Member(NamedTuple):
    """A file of a folder or archive.

    Attributes:
        path: relative to the folder or to the archive's top, with "/" between its parts.
        place: what the source needs to read the file: a path, or an archive's entry.
        size: in bytes.
        mark: a time or CRC, which changes with the contents.
        problem: why the file cannot be read; "" if it can.
    """

    path: str
    place: object
    size: int = 0
    mark: int = 0
    problem: str = ""


def source(path, write):
    """The files of the folder or archive at a path: a `_Folder`, `_Zip` or `_Tar` with ``members`` and ``read``.

    Raises:
        UserError: there is none, it is damaged or in an unknown format, or it may not be read.
    """
    try:
        if path.is_dir():
            return _Folder(path)
        if not path.exists():
            raise UserError(f"no such folder or archive: {path}; {READ}")
        if not path.is_file():
            raise UserError(f"{path} is neither a folder nor a file; {READ}")
        if zipfile.is_zipfile(path):
            return _Zip(path)
        with open(path, "rb") as stream:
            head = stream.read(HEAD)
        compressed = is_compressed_tar(path)
        if compressed or head[257:262] == b"ustar" or path.suffix.lower() == ".tar" and tarfile.is_tarfile(path):
            return _Tar(path, compressed, write)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; check the name and its permissions") from None
    kind = kind_of(head)
    if kind.endswith(("7z archive", "rar archive")):
        raise UserError(f"{path} is {kind}, which is not read; unpack it, as with 7z x {path.name}, "
                        "and name the folder")
    if kind == "a zip archive":
        raise UserError(f"{path} is a zip archive that is damaged or cut short, or one part of several; "
                        "join the parts, or download it again")
    raise UserError(f"{path} is not a zip or tar archive" + (f": it is {kind}" if kind else "") + f"; {READ}")


class _Folder:
    """The files of a folder and its sub-folders. Links are followed; each folder is entered only once."""

    def __init__(self, path):
        self.path = path

    def members(self):
        """Yield each `Member`."""
        yield from self._members(self.path, "", set())

    def _members(self, folder, before, seen):
        try:
            info = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if not before:
                raise cannot_read(folder, error) from None
            yield Member(before.rstrip("/"), None, problem=error.strerror)
            return
        if (info.st_dev, info.st_ino) in seen:  # a link in a circle
            return
        seen.add((info.st_dev, info.st_ino))
        for entry in entries:
            if junk(entry.name):
                continue
            path = before + entry.name
            try:
                info = entry.stat()
            except OSError as error:  # a dangling link
                yield Member(path, None, problem=error.strerror)
                continue
            if stat.S_ISREG(info.st_mode):
                yield Member(path, entry.path, info.st_size, info.st_mtime_ns)
            elif not stat.S_ISDIR(info.st_mode):
                yield Member(path, None, problem="not a file")
            elif not ours(folder / entry.name):
                inner = list(self._members(folder / entry.name, f"{path}/", seen))
                yield from inner
                if not inner and path.lower().endswith(KEPT_SUFFIXES):
                    yield Member(path, None, problem="a folder, not a picture")

    def read(self, path, size=-1):
        """The bytes of a file, or its first ``size``."""
        try:
            with open(path, "rb", buffering=0) as stream:
                return stream.read(size)
        except OSError as error:
            raise Unread(error) from error


class _Zip:
    """The files of a zip archive."""

    def __init__(self, path):
        try:
            # The file is opened here, because zipfile closes a file that it has opened itself after its last reader.
            self.archive = zipfile.ZipFile(open(path, "rb"))  # noqa: SIM115
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not a zip archive, or is damaged ({error}), or one part of several; join the "
                            "parts, or download it again") from error

    def members(self):
        """Yield each `Member`."""
        for info in self.archive.infolist():
            name = info.orig_filename.replace("\\", "/")  # some packers for Windows write backslashes
            problem = _unsafe(name)
            if info.flag_bits & 1:
                problem = "it has a password; unpack the archive and name the folder"
            elif info.compress_type not in (0, 8, 12, 14):
                packing = PACKINGS.get(info.compress_type, f"method {info.compress_type}")
                problem = f"it is packed with {packing}, which is not read; unpack the archive and name the folder"
            if not name.endswith("/"):
                yield Member(name, info, info.file_size, info.CRC, problem)
            elif name.rstrip("/").lower().endswith(KEPT_SUFFIXES) and not self._filled(name):
                yield Member(name, None, problem="a folder, not a picture")

    def _filled(self, folder):
        return any(name != folder and name.startswith(folder) for name in self.archive.namelist())

    def read(self, info, size=-1):
        """The bytes of a member, or its first ``size``."""
        try:
            # In steps: zipfile unpacks a whole step before it looks at the size that the archive claims.
            step = 4096 if info.compress_type in DENSE else 1 << 20
            left, parts = info.file_size if size < 0 else size, []
            with self.archive.open(info) as stream:
                while left > 0 and (part := stream.read(min(left, step))):
                    parts.append(part)
                    left -= len(part)
            return b"".join(parts)
        except MemoryError:
            raise
        except Exception as error:
            if getattr(error, "errno", None):  # of the system
                raise Unread(error) from error
            raise BadPicture(f"damaged in the archive: {error}") from error  # BadZipFile, zlib.error, EOFError, ...


class _Header(tarfile.TarInfo):
    """A member's header. A header that only describes the next member is read whole, so its size has a limit."""

    def _proc_member(self, archive):  # tarfile says that subclasses may replace it
        if self.size < 0 or self.type in READ_WHOLE and self.size > LONGEST_HEADER:  # a negative one leads back
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(archive)


class _Tar:
    """The files of a tar archive.

    A compressed archive is unpacked into a temporary file, to be read in any order; or, if nothing may be written, read
    through its compression.
    """

    def __init__(self, path, compressed, write):
        self.path, self.through = path, compressed and not write
        try:
            if self.through:
                self.file = _opener(path)(path)
            else:
                self.file = self._unpacked() if compressed else open(path, "rb")  # noqa: SIM115
            with tarfile.open(fileobj=self.file, mode="r:", tarinfo=_Header) as archive:
                self.infos = archive.getmembers()
        except (tarfile.TarError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise UserError(f"{path} is not a tar archive, or is damaged ({error}); download it again") from None

    def _unpacked(self):
        """The unpacked archive as a temporary file, which is deleted when it is closed."""
        print(f"unpacking {self.path.name} into a temporary file, for the pictures are read in any order",
              file=sys.stderr)
        folder = cache_folder(CACHE)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            target = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
            with _opener(self.path)(self.path) as stream:
                while block := stream.read(1 << 20):
                    target.write(block)
                    if target.tell() > LARGEST_UNPACKED:
                        raise UserError(f"{self.path} holds more than {LARGEST_UNPACKED >> 30} GB; unpack it and name "
                                        "the folder")
            target.flush()
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            if getattr(error, "errno", None):
                raise UserError(f"cannot unpack {self.path} into {folder}: {error.strerror}; "
                                "unpack it elsewhere and name the folder") from None
            raise UserError(f"{self.path} is damaged or cut short ({error}); download it again") from None
        target.seek(0)
        return target

    def members(self):
        """Yield each `Member`."""
        for info in self.infos:
            name = info.name.removeprefix("./")
            if info.isreg() and not info.issparse():
                yield Member(name, info, info.size, int(info.mtime), _unsafe(name))
            elif not info.isdir():
                yield Member(name, None, problem="a link or device in the archive")

    def read(self, info, size=-1):
        """The bytes of a member, or its first ``size``."""
        size_read = info.size if size < 0 else min(size, info.size)
        try:
            if self.through:
                self.file.seek(info.offset_data)
                data = self.file.read(size_read)
            else:
                data = os.pread(self.file.fileno(), size_read, info.offset_data)
        except OSError as error:
            raise Unread(error) from error
        if size < 0 and len(data) != info.size:
            raise BadPicture("cut short in the archive")
        return data


def is_compressed_tar(path):
    """Whether a file is compressed by gzip, bzip2 or xz; a tar archive can be."""
    return path.is_file() and _opener(path) is not None


def _opener(path):
    """The function that opens a compressed file, chosen by its first bytes; None for any other file."""
    with open(path, "rb") as stream:
        return {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}.get(stream.read(2))


def _unsafe(name):
    """Why a member's name is refused, if it is: a picture is written under its name and must stay within a folder."""
    path = PurePosixPath(name)
    if name.startswith("/") or ".." in path.parts or name[1:3] == ":/":
        return "unsafe name"
    if any(ord(sign) < 32 for sign in name) or Path(path.name).name != path.name:
        return "unsafe name"
    return ""
