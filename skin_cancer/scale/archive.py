"""The files of an archive: their addresses, on disks and elsewhere, and their bytes."""

import csv
import glob
import io
import itertools
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import fsspec
import pandas as pd
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol

from skin_cancer.errors import ArchiveError
from skin_cancer.images.decoding import MAX_BYTES
from skin_cancer.images.inputs import is_passed_over

TABLES = (".csv", ".parquet")
COLUMN = "path"
PAUSES = (1, 4)  # seconds before what could not be fetched is tried again
LOCAL = "file://"
_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*(://|::)", re.IGNORECASE)
_ENVIRONMENT: dict[str, Any] = {"trust_env": True}  # its proxies, for aiohttp
_OPTIONS = {
    **{protocol: {"client_kwargs": _ENVIRONMENT} for protocol in ("http", "https")},
    **{protocol: {"session_kwargs": _ENVIRONMENT} for protocol in ("gs", "gcs")},
}


def list_pictures(source: str | Path, apart: str | Path = "") -> list[str]:
    """List the files of an archive, whatever they are.

    Hidden files and folders are passed over, and those that systems add: `__MACOSX`, `@eaDir`.

    Args:
        source: a folder, with the folders in it; a pattern such as `scans/*/*.jpg`; one file; or
            a table (.csv, .parquet) whose column `path` names files, relative ones from the
            table's own folder. Each on a disk or at an address that fsspec knows (`s3://`, `gs://`,
            `https://`). A name is taken as it stands first, then as a pattern, or, in a table, with
            `/` for each backslash.
        apart: a folder that is none of it, such as the one that the scores go to.

    Returns:
        Their addresses as `address_of` gives them, sorted, each once. A folder that cannot be
        opened is one of them.

    Raises:
        ArchiveError: there is no such source, or no file in it.
    """
    name = address_of(source)
    try:
        found = _listed(os.fspath(source))
    except ImportError as error:
        raise ArchiveError(
            f"{name} cannot be listed: {error}. For s3:// and gs://: make .venv/cloud.done."
        ) from error
    except (OSError, ValueError, csv.Error) as error:
        raise ArchiveError(f"{name} cannot be listed: {reason(error)}.") from error
    if apart:
        found = [address for address in found if not address.startswith(_beginning(apart))]
    if not found:
        raise ArchiveError(f"There are no pictures in {name}.")
    return sorted(set(found))


def _beginning(folder):
    """Return what the addresses of all files in a folder begin with."""
    if not is_remote(str(folder)):
        return f"{address_of(folder)}/"
    files, path = place(folder)
    return f"{files.unstrip_protocol(path)}/"


def address_of(source: str | Path) -> str:
    r"""Return the one address of what may be written in several ways.

    Of a disk it is the absolute path; where the bytes of that are not UTF-8, a `file://` URI with
    those bytes in percent signs (RFC 8089), which `path_of` turns back. Any other is as it is,
    without a slash at the end.

    >>> address_of("/scans/./a.jpg/"), address_of("s3://bucket/scans/")
    ('/scans/a.jpg', 's3://bucket/scans')
    >>> address_of("/scans/\udce4.jpg"), path_of("file:///scans/%E4.jpg")
    ('file:///scans/%E4.jpg', '/scans/\udce4.jpg')
    """
    text = os.fspath(source)
    if is_remote(text):
        return text.rstrip("/")
    path = path_of(text)
    try:
        return os.fsencode(path).decode()
    except UnicodeDecodeError:
        return Path(path).as_uri()


def is_remote(source: str) -> bool:
    """Whether an address is not of a disk of this machine."""
    if source.startswith(LOCAL) or not _REMOTE.match(source):
        return False
    return not os.path.lexists(source)


def path_of(address: str) -> str:
    """Return the absolute path of a local address, without what can be written in several ways."""
    path = os.fsdecode(os.path.expanduser(address).encode(errors="surrogateescape"))
    if address.startswith(LOCAL):
        path = path.removeprefix(LOCAL)
        if not os.path.lexists(path):
            path = os.fsdecode(unquote_to_bytes(os.fsencode(path)))
    short = "/" + os.path.abspath(path).lstrip("/")
    after_a_link = ".." in path.split("/") and os.path.realpath(path) != os.path.realpath(short)
    return os.path.realpath(path) if after_a_link else short


def place(address: str | Path) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the file system of an address and the path on it; proxies of the environment count."""
    text = os.fspath(address)
    if is_remote(text):
        return fsspec.url_to_fs(text, **_OPTIONS.get(get_protocol(text), {}))
    return LocalFileSystem(), path_of(text)


def reason(error: Exception) -> str:
    """Return in words what went wrong, fit for a table and a terminal."""
    words = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return words.encode(errors="backslashreplace").decode()


def _listed(source):
    if source.lower().endswith(TABLES) and not os.path.isdir(source):
        return _tabled(source)
    if is_remote(source):
        return _listed_elsewhere(source)
    return [address_of(path) for path in _listed_here(path_of(source))]


def _listed_here(path):
    folder, pattern = _split(path, os.path.lexists)
    if pattern:
        found = glob.glob(os.path.join(glob.escape(folder), pattern), recursive=True)
        return [name for name in found if _counts(name, path) and _is_file(name)]
    if os.path.isdir(folder):
        return list(_walked(folder))
    if not os.path.lexists(folder):
        raise FileNotFoundError("no such folder or file")
    return [folder]


def _split(path, exists):
    """Divide a path where its pattern begins: in the first name with magic that does not exist."""
    names = path.split("/")
    for i, name in enumerate(names):
        if glob.has_magic(name) and not exists("/".join(names[: i + 1])):
            return "/".join(names[:i]), "/".join(names[i:])
    return path, ""


def _walked(folder):
    """Yield the paths of all files in a folder, links followed, and of folders that are closed."""
    closed: list[OSError] = []
    seen = {os.path.realpath(folder)}
    for here, folders, names in os.walk(folder, onerror=closed.append, followlinks=True):
        kept = [name for name in folders if not is_passed_over(name)]
        real = {name: os.path.realpath(os.path.join(here, name)) for name in kept}
        folders[:] = [name for name in kept if real[name] not in seen]
        seen.update(real.values())
        paths = [os.path.join(here, name) for name in names if not is_passed_over(name)]
        yield from filter(_is_file, paths)
    yield from (os.fsdecode(error.filename) for error in closed)


def _is_file(path):
    """Whether a path is a file or a link to nowhere, not a folder, a pipe or a device."""
    return os.path.isfile(path) or not os.path.exists(path)


def _counts(path, source):
    """Whether no name in a path is passed over, but those that the source itself has."""
    return not any(map(is_passed_over, set(path.split("/")) - set(source.split("/"))))


def _listed_elsewhere(source):
    files, path = place(source)
    _, pattern = _split(path, files.exists)
    if pattern:
        found = [name for name in files.glob(path) if files.isfile(name)]
    elif files.isdir(path):
        found = files.find(path)
    elif files.isfile(path):
        found = [path]
    else:
        raise FileNotFoundError("no such folder or file")
    kept = [name for name in found if _counts(unquote(name), path)]
    return [files.unstrip_protocol(name) for name in kept if not _is_listing(files, name)]


def _is_listing(files, name):
    """Whether a link of a web server leads to a listing, of another folder or in another order."""
    return "http" in files.protocol and ("?" in name or name.endswith("/"))


def _tabled(source):
    """Return the addresses in a table's column."""
    folder = _folder_of(source)
    return [_address_in(folder, name) for name in _names(source)]


def _folder_of(table):
    if is_remote(table):
        return table.rpartition("/")[0]
    return os.path.dirname(path_of(table))


def _names(source):
    files, path = place(source)
    with files.open(path, "rb") as file:
        names = _column_of_text(file) if path.lower().endswith(".csv") else _column(file)
    return [os.fsdecode(name) for name in names if name]


def _column(file):
    table = pd.read_parquet(file)
    _check_column(table)
    return table[COLUMN].dropna()


def _column_of_text(file):
    """Return the column of a CSV file as it stands, whatever stands between its columns."""
    text = file.read().decode("utf-8-sig", "surrogateescape")
    separator = max(",;\t", key=text.partition("\n")[0].count)
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    _check_column(table.fieldnames or ())
    return [row[COLUMN] for row in table]


def _check_column(names):
    if COLUMN not in names:
        raise ValueError(f"the table has no column {COLUMN!r}")


def _address_in(folder, name):
    """Return the address that a table in a folder means by a name."""
    if not is_remote(folder):
        paths = [os.path.join(folder, each) for each in (name, name.replace("\\", "/"))]
        there = [path for path in paths if os.path.lexists(path)]
        if there or not _REMOTE.match(name):
            return address_of([*there, paths[0]][0])
    elif not _REMOTE.match(name) and not name.startswith("/"):
        name = f"{folder}/{name}"
    if not is_remote(name):
        return address_of(name)
    files, path = place(name)
    return files.unstrip_protocol(path)


def fetched(addresses: Iterable[str]) -> Iterator[tuple[str, bytes | Exception]]:
    """Yield each address with the bytes of its file, or with the error that kept them back.

    Of a file that is larger than `MAX_BYTES` as much is read as tells so.
    """
    addresses = list(addresses)
    found = _fetched_once(addresses)
    for pause in PAUSES:
        missing = [address for address in addresses if _may_come(found[address])]
        if not missing:
            break
        time.sleep(pause)
        found |= _fetched_once(missing)
    yield from found.items()


def _may_come(content):
    lasting = FileNotFoundError, PermissionError, IsADirectoryError, ValueError
    return isinstance(content, Exception) and not isinstance(content, lasting)


def _fetched_once(addresses):
    found: dict[str, bytes | Exception] = {}
    for protocol, group in itertools.groupby(addresses, _protocol):
        names = list(group)
        found |= _fetched_from(names) if protocol else {name: _read(name) for name in names}
    return found


def _protocol(address):
    return get_protocol(address) if is_remote(address) else None


def _fetched_from(addresses):
    files, _ = place(addresses[0])
    paths = [files._strip_protocol(address) for address in addresses]
    contents = files.cat_ranges(paths, 0, MAX_BYTES + 1, on_error="return")
    return dict(zip(addresses, contents, strict=True))


def _read(address):
    try:
        with open(path_of(address), "rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        return error
