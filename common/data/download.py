"""Downloads of single files: from several mirrors, checked by md5, and resumed after an interruption."""

import contextlib
import http.client
import os
import queue
import shutil
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from pathlib import Path

from filelock import FileLock, Timeout

from common.errors import UserError, terminal
from common.files import cache_folder, checksum, exists, no_link, replacing

CONNECT_SECONDS = 4  # for each mirror: name, connection and first answer together
STALL_SECONDS = 10  # a download that receives nothing for this long is begun again from where it stopped
ATTEMPTS = 8  # at one mirror, as long as each attempt receives something


class Unavailable(Exception):
    """A file is missing and no mirror has delivered it. The message is the reason."""


def complete(published, wanted, folder, download):
    """Bring the files of a published set's split into a folder.

    Args:
        published: `common.data.catalogue.Published`.
        wanted: names of the file of images and the file of labels.
        folder: their folder.
        download: False forbids the network.

    Returns:
        The folder that holds the files now. It is another folder if EMNIST's archive lies in a folder that cannot be
        written.

    Raises:
        Unavailable: a file is missing and cannot be downloaded.
        UserError: EMNIST's archive is damaged, another process downloads the same file, or the disk is full.
    """
    # Labels first, so that a set with images is complete. The mirrors' file names are those in `wanted`, except for
    # EMNIST, which is one archive.
    names = [name for name in reversed(wanted) if name in published.downloads] or list(published.downloads)
    mirrors = list(published.mirrors)
    for name in names:
        if exists(folder / name):
            continue
        if not download:
            raise Unavailable("--no_download forbids downloading it")
        mirror = fetch(name, mirrors, folder, published.downloads[name], published.limit)
        mirrors.sort(key=lambda other, good=mirror: other != good)  # do not wait for a dead mirror again
    if names[0] in wanted:
        return folder
    target = folder if os.access(folder, os.W_OK) else cache_folder(published.folder)
    _unpack(folder / names[0], target, wanted, published.limit)
    return target


def _unpack(archive, folder, names, limit):
    """Take single files, and the mapping of their labels, out of a zip archive into a folder."""
    try:
        with zipfile.ZipFile(archive) as stored:
            members = {Path(info.filename).name: info for info in stored.infolist()}
            if missing := [name for name in names if name not in members]:
                raise UserError(f"{archive} has no {missing[0]}; put EMNIST's own gzip.zip in its place")
            for name in sorted({"emnist-balanced-mapping.txt", *names} & set(members), reverse=True):
                if members[name].file_size > limit:
                    raise UserError(f"{name} in {archive} is too large; put EMNIST's own gzip.zip in its place")
                # mapping, then labels, then images: a set with images counts as complete
                with stored.open(members[name]) as source, replacing(folder / name) as path, \
                        path.open("wb") as target:
                    shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{archive} is damaged ({error}); put a whole copy in its place") from None


def fetch(name, mirrors, folder, md5, limit):
    """Download one file into a folder, from the first mirror whose file has the right md5.

    The bytes that have arrived are kept in ``NAME.part``. An interrupted download goes on where it stopped, also from
    another mirror, also in the next run. The file gets its name only when its md5 is right.

    Args:
        mirrors: addresses, tried in turn; the file's name is appended.
        limit: the most bytes that the file may have; a mirror that sends more is dropped.

    Returns:
        The mirror that delivered the file.

    Raises:
        Unavailable: all mirrors have failed; the message has the reason of each.
        UserError: another process downloads the same file, or the disk is full.
    """
    lock = FileLock(folder / f".{name}.lock", timeout=0)
    try:
        return _from_mirrors(name, mirrors, folder, md5, limit, lock)
    finally:
        if lock.is_locked:
            with contextlib.suppress(OSError):
                Path(lock.lock_file).unlink()
            lock.release(force=True)


def _from_mirrors(name, mirrors, folder, md5, limit, lock):
    part = folder / f"{name}.part"
    reasons = []
    for mirror in mirrors:
        reason = "gave up"
        for _ in range(ATTEMPTS):
            before = part.stat().st_size if part.exists() else 0
            try:
                if not (before and checksum(part) == md5):  # else it is complete and only has to be renamed
                    _receive(mirror + name, part, before, limit, lock)
            except (OSError, http.client.HTTPException, ValueError) as error:
                reason = _why(error)
                if part.exists() and part.stat().st_size > before:
                    continue  # interrupted again, but further than before
                break
            if checksum(part) == md5:
                part.replace(folder / name)
                return mirror
            part.unlink()
            reason = "sent a file with the wrong md5"
            if not before:
                break
        reasons.append(f"{urllib.parse.urlsplit(mirror).netloc}: {reason}")
    raise Unavailable("; ".join(reasons))


def _receive(url, part, start, limit, lock):
    """Append a server's bytes from byte ``start`` on to ``part``; begin anew if the server only sends whole files.

    The lock is taken as soon as there is something to write; the caller releases it.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "Mozilla/5.0 (paddle-gan)"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        answer = _open(request)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # the server's file ends before `start`, so ``part`` is of another file
            part.unlink()
            return _receive(url, part, 0, limit, lock)
        raise
    with answer:
        if answer.status != 206:
            start = 0  # the server sends the whole file, in spite of the Range header
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else None
        if (total or 0) > limit:
            raise ValueError(f"sends {total} bytes, more than the {limit} allowed")
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            if not lock.is_locked:
                lock.acquire()
            stream = open(part, "ab" if start else "wb", buffering=0, opener=no_link)  # noqa: SIM115
        except Timeout:
            raise UserError(f"another process is downloading {part.stem} into {part.parent}; "
                            "run again when it has finished") from None
        except OSError as error:
            raise Unavailable(f"cannot write {part}: {error.strerror}") from None
        with stream, _bar(url, start, total) as bar:
            begun = time.monotonic()
            received = start
            while block := answer.read1(1 << 16):
                received += len(block)
                if received > limit:
                    stream.close()
                    part.unlink()
                    raise ValueError(f"sends more than the {limit} bytes allowed")
                _write(stream, block, part)
                bar.update(len(block))
                waited = time.monotonic() - begun
                if waited > 2 * STALL_SECONDS and received - start < 1000 * waited:
                    raise TimeoutError("sends less than 1 kB a second")
        if total is not None and received < total:
            raise ConnectionError(f"connection cut after {received} of {total} bytes")


def _write(stream, block, path):
    """Write a whole block. A full disk raises `UserError`, because the server is not at fault."""
    rest = memoryview(block)
    try:
        while rest:
            rest = rest[stream.write(rest):]
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; make room there, "
                        "or name another folder") from None


def _open(request):
    """`urllib.request.urlopen` with a time limit of `CONNECT_SECONDS`.

    It runs in a thread, because the socket's timeout does not include the look-up of the host's name, which can take
    a minute.
    """
    answers = queue.SimpleQueue()

    def open_():
        try:
            answers.put((urllib.request.urlopen(request, timeout=STALL_SECONDS), None))
        except Exception as error:
            answers.put((None, error))

    threading.Thread(target=open_, daemon=True).start()
    try:
        answer, error = answers.get(timeout=CONNECT_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer within {CONNECT_SECONDS} seconds") from None
    if error is not None:
        raise error
    return answer


def _bar(url, start, total):
    """A progress bar on a terminal; one plain line elsewhere."""
    from tqdm import tqdm

    address = urllib.parse.urlsplit(url)
    name = Path(address.path).name
    if not terminal():
        size = f", {total / 1e6:.1f} MB" if total else ""
        going_on = f", going on at {start / 1e6:.1f} MB" if start else ""
        print(f"downloading {name} from {address.netloc}{size}{going_on}", file=sys.stderr, flush=True)
    return tqdm(desc=name, initial=start, total=total, unit="B", unit_scale=True, disable=not terminal())


def _why(error):
    """The reason why a download failed, in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"answers {error.code} {error.reason}"
    reason = getattr(error, "reason", error)  # URLError wraps the socket's own error
    return str(getattr(reason, "strerror", None) or reason or type(reason).__name__)
