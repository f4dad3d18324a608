import errno
import hashlib
import io
import json
import shutil
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import requests
from conftest import UNPRIVILEGED
from pictures import write_milk10k

from skin_cancer.data import dataset
from skin_cancer.data import download as module
from skin_cancer.data.download import download, main
from skin_cancer.errors import DatasetError

LISTING = f"/api/datasets/:persistentId/?persistentId={module.HAM10000_DOI}"
PART_1 = "HAM10000_images_part_1.zip"
CHUNK = 500


def noise(seed, size=1000):
    return np.random.default_rng(seed).bytes(size)


def archive(members, compression=zipfile.ZIP_STORED):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return data.getvalue()


def images(number):
    return {f"ISIC_000000{number}{image}.jpg": noise(10 * number + image) for image in range(3)}


class Server(ThreadingHTTPServer):
    """Harvard Dataverse and the ISIC buckets on localhost, which misbehave on demand."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.entries = []
        self.contents = {}
        self.status = {}
        self.requests = []
        self.cut_after = 0
        self.cuts = 0
        self.ranges = "known"
        self.states_length = True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, filename, content, **entry):
        number = len(self.entries) + 1
        path = f"/api/access/datafile/{number}"
        self.contents[f"{path}?format=original" if "originalFileFormat" in entry else path] = (
            content
        )
        checksum = {"type": "MD5", "value": hashlib.md5(content).hexdigest()}
        size = {"filesize": len(content), "checksum": checksum}
        self.entries.append({"id": number, "filename": filename, **size, **entry})
        return path

    def content(self, path):
        if path == LISTING:
            files = [{"dataFile": entry} for entry in self.entries]
            return json.dumps({"data": {"latestVersion": {"files": files}}}).encode()
        return self.contents.get(path)

    def path_of(self, filename):
        number = next(entry["id"] for entry in self.entries if entry["filename"] == filename)
        return f"/api/access/datafile/{number}"

    def cut(self, after, times):
        self.cut_after, self.cuts = after, times

    def transfers(self):
        """The range asked for (None: all) in each request for a file."""
        return [(r.path, r.range) for r in self.requests if r.method == "GET" and r.path != LISTING]


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.answer(with_content=False)

    def do_GET(self):
        self.answer(with_content=True)

    def answer(self, with_content):
        server = self.server
        wanted = self.headers["Range"]
        server.requests.append(SimpleNamespace(method=self.command, path=self.path, range=wanted))
        content = server.content(self.path)
        status = server.status.get(self.path, 200 if content is not None else 404)
        if self.headers["User-Agent"].startswith("python-requests"):
            status = 403
        if status != 200:
            self.send_error(status)
            return
        start = int(wanted[len("bytes=") : -1]) if wanted else 0
        if start >= len(content) or (start and server.ranges == "refused"):
            self.send_error(416)
            return
        if server.ranges == "ignored":
            start = 0
        self.send_response(206 if start else 200)
        if start:
            first = start + (server.ranges == "wrong")
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if server.states_length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if with_content:
            self.wfile.write(self.cut(content[start:]))

    def cut(self, content):
        if self.path == LISTING or not self.server.cuts:
            return content
        self.server.cuts -= 1
        return content[: self.server.cut_after]

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setattr(module, "SERVERS", dict.fromkeys(module.SERVERS, server.url))
        monkeypatch.setattr(module, "PAUSES", (0, 0, 0))
        monkeypatch.setattr(module, "CHUNK", CHUNK)
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def ham10000(server):
    """All files as Dataverse lists them; the archives differ in having a folder inside."""
    inside = {f"HAM10000_images_part_2/{name}": data for name, data in images(2).items()}
    masks = {"ISIC_00000010_segmentation.png": noise(3), "__MACOSX/._a.png": b"", ".DS_Store": b""}
    server.add("README.md", b"not wanted")
    server.add("HAM10000_metadata", b"lesion_id,image_id,dx\n")
    server.add(PART_1, archive(images(1)))
    server.add("HAM10000_images_part_2.zip", archive({"HAM10000_images_part_2/": b"", **inside}))
    server.add("HAM10000_segmentations_lesion_tschandl.zip", archive(masks))
    server.add("ISIC2018_Task3_Test_Images.zip", archive(images(4)))
    server.add("ISIC2018_Task3_Test_GroundTruth.csv", b"image,MEL\n")
    return server


@pytest.fixture
def isic2019(server):
    for name in ("Metadata.csv", "GroundTruth.csv"):
        server.contents[f"/2019/ISIC_2019_Training_{name}"] = name.encode()
    server.contents["/2019/ISIC_2019_Training_Input.zip"] = archive(images(5))
    return server


def replace(server, filename, content):
    """Publish another file under a name, with its checksum."""
    server.entries = [entry for entry in server.entries if entry["filename"] != filename]
    server.add(filename, content)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


WHOLE = {
    "HAM10000_metadata.csv",
    "ISIC2018_Task3_Test_GroundTruth.csv",
    "HAM10000_segmentations_lesion_tschandl/ISIC_00000010_segmentation.png",
    *(f"HAM10000_images_part_1/{name}" for name in images(1)),
    *(f"HAM10000_images_part_2/{name}" for name in images(2)),
    *(f"ISIC2018_Task3_Test_Images/{name}" for name in images(4)),
}


@pytest.mark.usefixtures("ham10000")
def test_whole_dataset_in_the_official_layout(tmp_path):
    folder = tmp_path / "new" / "data"
    assert download("ham10000", str(folder)) == folder
    assert files(folder) == WHOLE
    for name, content in images(2).items():
        assert (folder / "HAM10000_images_part_2" / name).read_bytes() == content
    assert (folder / "HAM10000_metadata.csv").read_bytes() == b"lesion_id,image_id,dx\n"


def test_second_call_transfers_nothing(ham10000, tmp_path):
    download("ham10000", tmp_path)
    ham10000.requests.clear()
    download("ham10000", tmp_path)
    assert not ham10000.requests


def test_only_what_is_missing_is_transferred(ham10000, tmp_path):
    download("ham10000", tmp_path)
    shutil.rmtree(tmp_path / "HAM10000_images_part_1")
    ham10000.requests.clear()
    download("ham10000", tmp_path)
    assert ham10000.transfers() == [(ham10000.path_of(PART_1), None)]
    assert files(tmp_path) == WHOLE


def test_cut_download_goes_on_where_it_stopped(ham10000, tmp_path):
    path = ham10000.path_of(PART_1)
    ham10000.cut(after=2 * CHUNK, times=2)
    download("ham10000", tmp_path)
    ranges = [asked for wanted, asked in ham10000.transfers() if wanted == path]
    assert ranges == [None, f"bytes={2 * CHUNK}-"]
    assert files(tmp_path) == WHOLE


def test_download_cut_again_and_again_goes_on_in_the_next_call(ham10000, tmp_path):
    path = ham10000.path_of(PART_1)
    ham10000.cut(after=CHUNK, times=10**6)
    with pytest.raises(DatasetError, match=rf"{PART_1} was interrupted; run the same command"):
        download("ham10000", tmp_path)
    part = tmp_path / f"{PART_1}.part"
    assert part.stat().st_size == len(module.PAUSES) * CHUNK
    assert files(tmp_path) == {"HAM10000_metadata.csv", part.name}

    ham10000.cut(after=0, times=0)
    ham10000.requests.clear()
    download("ham10000", tmp_path)
    assert (path, f"bytes={len(module.PAUSES) * CHUNK}-") in ham10000.transfers()
    assert files(tmp_path) == WHOLE


@pytest.mark.parametrize("ranges", ["ignored", "refused", "wrong"])
def test_server_that_cannot_go_on_sends_the_file_anew(ham10000, tmp_path, ranges):
    ham10000.ranges = ranges
    ham10000.cut(after=2 * CHUNK, times=2)
    download("ham10000", tmp_path)
    assert files(tmp_path) == WHOLE


def test_cut_is_seen_though_the_server_states_no_length(ham10000, tmp_path):
    ham10000.states_length = False
    ham10000.cut(after=2 * CHUNK, times=2)
    download("ham10000", tmp_path)
    assert files(tmp_path) == WHOLE
    assert (ham10000.path_of(PART_1), f"bytes={2 * CHUNK}-") in ham10000.transfers()


def test_whole_part_is_not_transferred_again(ham10000, tmp_path):
    path = ham10000.path_of(PART_1)
    (tmp_path / f"{PART_1}.part").write_bytes(ham10000.contents[path])
    download("ham10000", tmp_path)
    assert path not in dict(ham10000.transfers())
    assert files(tmp_path) == WHOLE


@pytest.mark.usefixtures("ham10000")
def test_part_longer_than_the_file_is_fetched_anew(tmp_path):
    (tmp_path / f"{PART_1}.part").write_bytes(b"x" * 10**5)
    download("ham10000", tmp_path)
    assert files(tmp_path) == WHOLE


def test_damaged_file_is_named_and_removed(ham10000, tmp_path):
    path = ham10000.path_of(PART_1)
    good = ham10000.contents[path]
    ham10000.contents[path] = good[:-1] + b"x"
    with pytest.raises(DatasetError, match=rf"{PART_1} arrived damaged and was removed"):
        download("ham10000", tmp_path)
    assert files(tmp_path) == {"HAM10000_metadata.csv"}

    ham10000.contents[path] = good
    download("ham10000", tmp_path)
    assert files(tmp_path) == WHOLE


def test_converted_table_is_asked_for_as_it_was_uploaded(ham10000, tmp_path):
    del ham10000.contents[ham10000.path_of("HAM10000_metadata")]
    del ham10000.entries[1]
    ham10000.add("HAM10000_metadata.tab", b"a,b\n1,2\n", filesize=99, originalFileFormat="text/csv")
    download("ham10000", tmp_path)
    assert (tmp_path / "HAM10000_metadata.csv").read_bytes() == b"a,b\n1,2\n"


def test_checksum_of_older_listings(ham10000, tmp_path):
    for entry in ham10000.entries:
        entry["md5"] = entry.pop("checksum")["value"]
    download("ham10000", tmp_path)
    assert files(tmp_path) == WHOLE


def test_file_that_is_no_longer_listed_is_named(ham10000, tmp_path):
    del ham10000.entries[2]
    with pytest.raises(DatasetError, match=f"no longer lists {PART_1}"):
        download("ham10000", tmp_path)
    assert not ham10000.transfers()


def test_listing_that_is_none(ham10000, tmp_path):
    ham10000.contents[LISTING] = b""
    ham10000.entries = None
    with pytest.raises(DatasetError, match=r"127\.0\.0\.1"):
        download("ham10000", tmp_path)


def test_too_little_room_is_said_before_any_transfer(ham10000, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=25 * 10**8))
    ham10000.entries[2]["filesize"] = 13 * 10**8
    with pytest.raises(DatasetError, match=r"2\.6 GB of free disk, and 2\.5 GB are free") as error:
        download("ham10000", tmp_path)
    assert str(tmp_path) in str(error.value)
    assert not ham10000.transfers()


def test_archives_need_twice_their_size_less_what_is_there(ham10000, tmp_path, monkeypatch):
    with (tmp_path / f"{PART_1}.part").open("wb") as part:
        part.write(ham10000.contents[ham10000.path_of(PART_1)][:CHUNK])
    wanted = [e for e in ham10000.entries if e["filename"] != "README.md"]
    needed = sum(e["filesize"] * (1 + e["filename"].endswith(".zip")) for e in wanted) - CHUNK

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    with pytest.raises(DatasetError, match="Make room"):
        download("ham10000", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed))
    download("ham10000", tmp_path)
    assert files(tmp_path) == WHOLE


def test_disk_that_fills_up_midway(ham10000, tmp_path, monkeypatch):
    path = ham10000.path_of(PART_1)
    whole = requests.Response.iter_content

    def filling_up(response, size):
        chunks = whole(response, size)
        yield next(chunks)
        if response.url.endswith(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        yield from chunks

    with monkeypatch.context() as patch:
        patch.setattr(requests.Response, "iter_content", filling_up)
        with pytest.raises(DatasetError, match=r"is full\. Make room and run the same command"):
            download("ham10000", tmp_path)
    ham10000.requests.clear()
    download("ham10000", tmp_path)
    assert ham10000.transfers()[0] == (path, f"bytes={CHUNK}-")
    assert files(tmp_path) == WHOLE


@pytest.mark.parametrize(
    "name", ["../evil.jpg", "a/../../evil.jpg", "/evil.jpg", "C:/evil.jpg", "C:evil.jpg", "..\\x"]
)
def test_unsafe_archive_is_refused_whole(ham10000, tmp_path, name):
    replace(ham10000, PART_1, archive({**images(1), name: b"evil"}))
    folder = tmp_path / "data"
    with pytest.raises(DatasetError) as error:
        download("ham10000", folder)
    assert f"{PART_1} cannot be unpacked (unsafe entry {name})" in str(error.value)
    assert files(tmp_path) == {"data/HAM10000_metadata.csv"}


def test_archive_with_two_files_of_one_name_is_refused(ham10000, tmp_path):
    replace(ham10000, PART_1, archive({"a/x.jpg": b"1", "b/x.jpg": b"2"}))
    with pytest.raises(DatasetError, match=r"two entries x\.jpg"):
        download("ham10000", tmp_path)
    assert files(tmp_path) == {"HAM10000_metadata.csv"}


DAMAGED = {
    "bad checksum": archive(images(1)).replace(noise(10), noise(99)),
    "bad compression": archive({"a": b"a" * 99}, zipfile.ZIP_DEFLATED).replace(
        b"aKL", b"a\xff\xff"
    ),
    "cut": archive(images(1))[:-30],
    "no archive": b"<html>",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_archive_that_cannot_be_unpacked(ham10000, tmp_path, content):
    replace(ham10000, PART_1, content)
    with pytest.raises(DatasetError, match=f"{PART_1} cannot be unpacked .* and was removed"):
        download("ham10000", tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "HAM10000_metadata.csv"]


def test_killed_unpacking_starts_anew_without_a_transfer(ham10000, tmp_path):
    (tmp_path / PART_1).write_bytes(ham10000.contents[ham10000.path_of(PART_1)])
    (tmp_path / ".HAM10000_images_part_1").mkdir()
    (tmp_path / ".HAM10000_images_part_1" / "half.jpg").touch()
    download("ham10000", tmp_path)
    assert files(tmp_path) == WHOLE
    assert ham10000.path_of(PART_1) not in dict(ham10000.transfers())


def test_isic2019(isic2019, tmp_path):
    isic2019.cut(after=CHUNK, times=3)
    download("isic2019", tmp_path)
    assert isic2019.transfers()[-1] == ("/2019/ISIC_2019_Training_Input.zip", f"bytes={CHUNK}-")
    assert files(tmp_path) == {
        "ISIC_2019_Training_Metadata.csv",
        "ISIC_2019_Training_GroundTruth.csv",
        *(f"ISIC_2019_Training_Input/{name}" for name in images(5)),
    }
    isic2019.requests.clear()
    download("isic2019", tmp_path)
    assert not isic2019.requests


def test_isic2019_damaged_on_the_way(isic2019, tmp_path):
    path = "/2019/ISIC_2019_Training_Input.zip"
    good = isic2019.contents[path]
    isic2019.contents[path] = good.replace(noise(51), noise(0))
    with pytest.raises(DatasetError, match=r"Bad CRC-32 for file 'ISIC_00000051\.jpg'"):
        download("isic2019", tmp_path)
    isic2019.contents[path] = good
    download("isic2019", tmp_path)
    assert (tmp_path / "ISIC_2019_Training_Input" / "ISIC_00000051.jpg").is_file()


def test_milk10k_is_read_as_it_was_downloaded(server, tmp_path):
    published = tmp_path / "published"
    write_milk10k(published)
    images = published / "MILK10k_Training_Input"
    members = {
        str(path.relative_to(published)): path.read_bytes() for path in images.rglob("*.jpg")
    }
    address = "/challenges/milk10k/MILK10k_Training_"
    server.contents[f"{address}Input.zip"] = archive(members)
    for name in ("GroundTruth", "Metadata", "Supplement"):
        table = published / f"MILK10k_Training_{name}.csv"
        server.contents[f"{address}{name}.csv"] = table.read_bytes()
    table = dataset.read(download("milk10k", tmp_path / "data"))
    pd.testing.assert_frame_equal(
        table.drop(columns="path"), dataset.read(published).drop(columns="path")
    )


@pytest.mark.parametrize("status", [403, 404, 500])
def test_server_that_refuses(ham10000, tmp_path, status):
    ham10000.status[ham10000.path_of(PART_1)] = status
    with pytest.raises(DatasetError, match=rf"127\.0\.0\.1 answered {status} .*again later"):
        download("ham10000", tmp_path)


@pytest.mark.parametrize("name", list(module.FILES))
def test_no_network(server, tmp_path, name):
    server.server_close()
    with pytest.raises(DatasetError, match=r"127\.0\.0\.1 cannot be reached\. Check"):
        download(name, tmp_path)


def test_unknown_dataset(tmp_path):
    with pytest.raises(DatasetError, match="'ham1000' to download; name ham10000, isic2019 or"):
        download("ham1000", tmp_path / "data")
    assert not list(tmp_path.iterdir())


def test_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "data").touch()
    with pytest.raises(DatasetError, match="Name a folder"):
        download("ham10000", tmp_path / "data")


def test_folder_without_rights(tmp_path):
    tmp_path.chmod(0o500)
    command = [sys.executable, "-m", "skin_cancer.data.download", "ham10000", tmp_path / "data"]
    done = subprocess.run([*UNPRIVILEGED, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "data cannot be written to" in done.stderr


def run_main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["download", *map(str, arguments)])
    main()


@pytest.mark.usefixtures("isic2019")
def test_shell(tmp_path, monkeypatch, capsys):
    run_main(monkeypatch, "isic2019", tmp_path)
    assert capsys.readouterr().out == f"isic2019 is whole in {tmp_path}.\n"


def test_shell_says_what_is_wrong_in_a_sentence(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="There is no dataset 'cats' to download"):
        run_main(monkeypatch, "cats", tmp_path)


def test_shell_stopped_by_its_user(tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "download", stopped)
    with pytest.raises(SystemExit, match="the same command goes on where it stopped"):
        run_main(monkeypatch, "ham10000", tmp_path)
