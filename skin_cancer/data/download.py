"""Download the datasets from their publishers: checked, unpacked, resumed where cut."""

import argparse
import errno
import shutil
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from urllib.parse import urlsplit

import pooch
import requests
from tqdm.auto import tqdm

from skin_cancer.data.credits import HAM10000_DOI
from skin_cancer.errors import DatasetError, SkinCancerError

SERVERS = {
    "ham10000": "https://dataverse.harvard.edu",
    "isic2019": "https://isic-challenge-data.s3.amazonaws.com",
    "milk10k": "https://isic-archive.s3.amazonaws.com",
}
FOLDERS = {"isic2019": "2019", "milk10k": "challenges/milk10k"}  # of the servers
FILES = {
    "ham10000": (
        "HAM10000_metadata.csv",
        "HAM10000_images_part_1.zip",
        "HAM10000_images_part_2.zip",
        "HAM10000_segmentations_lesion_tschandl.zip",
        "ISIC2018_Task3_Test_Images.zip",
        "ISIC2018_Task3_Test_GroundTruth.csv",
    ),
    "isic2019": (
        "ISIC_2019_Training_Metadata.csv",
        "ISIC_2019_Training_GroundTruth.csv",
        "ISIC_2019_Training_Input.zip",
    ),
    "milk10k": (
        "MILK10k_Training_Metadata.csv",
        "MILK10k_Training_Supplement.csv",
        "MILK10k_Training_GroundTruth.csv",
        "MILK10k_Training_Input.zip",
    ),
}
KNOWN = "ham10000, isic2019 or milk10k"

# Harvard Dataverse answers 403 to the user agent of requests. A compressed answer has no ranges.
HEADERS = {"User-Agent": "skin_cancer", "Accept-Encoding": "identity"}
TIMEOUT = 30  # seconds
PAUSES = (0, 1, 2, 4, 8)  # seconds before each attempt
CHUNK = 1 << 16  # bytes

# What is wrong is said by DatasetError; pooch need not write its hashes to the console.
pooch.get_logger().setLevel("WARNING")


def download(name: str, folder: str | Path) -> Path:
    """Download a public dataset into a folder and unpack its archives.

    What is whole in the folder already is not transferred again, and a cut transfer goes on
    where it stopped (`NAME.part`). Each archive becomes a folder of its name, with all files but
    hidden ones directly in it; that folder appears only once it is whole, and the archive is then
    removed.

    Args:
        name: `ham10000` (about 3 GB, with the official test set of ISIC 2018 task 3; from
            Harvard Dataverse, doi:10.7910/DVN/DBW86T), each file checked against the checksum
            published there; `isic2019` (about 9 GB; the training set of the ISIC 2019 challenge);
            or `milk10k` (about 350 MB; that of ISIC 2025). For these two no checksums are
            published: the length that the server states and the CRC of every file in the archive
            are checked.
        folder: where to; made if absent. While an archive is unpacked it needs twice its size.

    Returns:
        The folder.

    Raises:
        DatasetError: unknown name, no connection, damaged file, unsafe archive, too little
            room, or a folder that cannot be written to.
    """
    if name not in FILES:
        raise DatasetError(f"There is no dataset {name!r} to download; name {KNOWN}.")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _download_missing(name, folder)
    except requests.RequestException as error:
        raise DatasetError(
            f"{urlsplit(SERVERS[name]).hostname} cannot be reached. Check the connection to the "
            "network and run the same command again."
        ) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DatasetError(
                f"The disk of {folder} is full. Make room and run the same command again; it "
                "goes on where it stopped."
            ) from error
        raise DatasetError(
            f"{folder} cannot be written to ({error.strerror or 'no permission'}). Name a folder "
            "that you may write to."
        ) from error
    return folder


@dataclass(frozen=True)
class _File:
    path: Path
    url: str
    size: int | None
    known_hash: str | None

    @property
    def part(self):
        return self.path.with_name(f"{self.path.name}.part")


def _download_missing(name, folder):
    missing = [path for file in FILES[name] if not _place(path := folder / file).exists()]
    if not missing:
        return
    for path in missing:
        shutil.rmtree(_aside(path), ignore_errors=True)
    if name in FOLDERS:
        files = [
            _isic_file(f"{SERVERS[name]}/{FOLDERS[name]}/{path.name}", path) for path in missing
        ]
    else:
        files = _list_ham10000(SERVERS[name], missing)
    _check_space(files, folder)
    for file in files:
        _fetch(file)
        if _is_archive(file.path):
            _unpack(file.path)


def _is_archive(path):
    return path.suffix == ".zip"


def _place(path):
    """Return what stands for a file once it is whole: itself, or the folder of an archive."""
    return path.with_suffix("") if _is_archive(path) else path


def _aside(path):
    return path.with_name(f".{path.stem}")


def _list_ham10000(server, paths):
    url = f"{server}/api/datasets/:persistentId/?persistentId={HAM10000_DOI}"
    try:
        listed = _ask("GET", url).json()["data"]["latestVersion"]["files"]
        entries = {Path(item["dataFile"]["filename"]).stem: item["dataFile"] for item in listed}
        return [_dataverse_file(server, path, entries.get(path.stem)) for path in paths]
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{urlsplit(server).hostname} sent no list of files. Run the same command again later."
        ) from error


def _dataverse_file(server, path, entry):
    if entry is None:
        raise DatasetError(
            f"{urlsplit(server).hostname} no longer lists {path.name}. Look for it at "
            f"https://doi.org/{HAM10000_DOI.removeprefix('doi:')}."
        )
    url = f"{server}/api/access/datafile/{entry['id']}"
    checksum = entry.get("checksum") or {"type": "MD5", "value": entry["md5"]}
    known_hash = f"{checksum['type'].replace('-', '').lower()}:{checksum['value']}"
    if "originalFileFormat" in entry:
        # Converted to a table on arrival: the checksum is still that of the original, the size not.
        return _File(path, f"{url}?format=original", None, known_hash)
    return _File(path, url, entry["filesize"], known_hash)


def _isic_file(url, path):
    size = _ask("HEAD", url).headers.get("Content-Length")
    return _File(path, url, size and int(size), known_hash=None)


def _ask(method, url, **headers):
    headers = HEADERS | headers
    response = requests.request(method, url, headers=headers, timeout=TIMEOUT, stream=True)
    if response.status_code not in (200, 206, 416):
        raise DatasetError(
            f"{urlsplit(url).hostname} answered {response.status_code} {response.reason} for "
            f"{url}. Run the same command again later."
        )
    return response


def _check_space(files, folder):
    needed = sum(_needed(file) for file in files)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DatasetError(
            f"{folder} needs {needed / 1e9:.1f} GB of free disk, and {free / 1e9:.1f} GB are "
            "free. Make room or name a folder on another disk."
        )


def _needed(file):
    there = sum(path.stat().st_size for path in (file.path, file.part) if path.exists())
    return (file.size or 0) * (2 if _is_archive(file.path) else 1) - there


def _fetch(file):
    try:
        pooch.retrieve(
            file.url,
            file.known_hash,
            fname=file.path.name,
            path=file.path.parent.resolve(),
            downloader=lambda url, output, _: _transfer_with_pauses(file, output),
        )
    except ValueError as error:
        raise DatasetError(
            f"{file.path.name} arrived damaged and was removed. Run the same command again to "
            "fetch it anew."
        ) from error


def _transfer_with_pauses(file, output):
    for pause in PAUSES:
        time.sleep(pause)
        try:
            _transfer(file)
        except requests.RequestException as error:
            cause = error
        else:
            file.part.replace(output)
            return
    raise DatasetError(
        f"The download of {file.path.name} was interrupted; run the same command again, it goes "
        "on where it stopped."
    ) from cause


def _transfer(file):
    start = file.part.stat().st_size if file.part.exists() else 0
    if start == file.size:
        return
    wanted = {"Range": f"bytes={start}-"} if start else {}
    with _ask("GET", file.url, **wanted) as response:
        goes_on = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        if response.status_code != 200 and not goes_on:
            file.part.unlink(missing_ok=True)
            raise requests.RequestException(f"no bytes from {start} on")
        _append(response, file, start if goes_on else 0)
    if file.size not in (None, file.part.stat().st_size):
        raise requests.RequestException("another length than the server stated")


def _append(response, file, start):
    bar = tqdm(desc=file.path.name, initial=start, total=file.size, unit="B", unit_scale=True)
    with bar, file.part.open("ab" if start else "wb") as part:
        for chunk in response.iter_content(CHUNK):
            bar.update(part.write(chunk))


def _unpack(archive):
    aside = _aside(archive)
    try:
        with zipfile.ZipFile(archive) as contents:
            members = _members(contents)
            aside.mkdir()
            for name, member in tqdm(members.items(), desc=f"unpack {archive.name}", unit="file"):
                with contents.open(member) as source, (aside / name).open("xb") as target:
                    shutil.copyfileobj(source, target)
        aside.rename(_place(archive))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        archive.unlink()
        raise DatasetError(
            f"{archive.name} cannot be unpacked ({error}) and was removed. Run the same command "
            "again to fetch it anew."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    archive.unlink()


def _members(contents):
    """Return the files of an archive by base name; refuse those that point out of a folder."""
    members = {}
    for member in contents.infolist():
        path = PureWindowsPath(member.filename)
        if path.anchor or ".." in path.parts:
            raise zipfile.BadZipFile(f"unsafe entry {member.filename}")
        hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
        if member.is_dir() or hidden:
            continue
        if path.name in members:
            raise zipfile.BadZipFile(f"two entries {path.name}")
        members[path.name] = member
    return members


def main() -> None:
    """Download from the shell."""
    parser = argparse.ArgumentParser(
        prog="python -m skin_cancer.data.download", description=__doc__.split("\n")[0]
    )
    parser.add_argument("name", help=KNOWN)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    try:
        print(f"{given.name} is whole in {download(given.name, given.folder)}.")
    except SkinCancerError as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        raise SystemExit("Stopped; the same command goes on where it stopped.") from None


if __name__ == "__main__":
    main()
