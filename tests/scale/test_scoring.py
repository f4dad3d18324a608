"""An archive of pictures scored on a real Dask cluster: every picture has one row."""

import functools
import http.server
import json
import os
import shutil
import signal
import threading
import time

import fsspec
import pandas as pd
import pytest
from dask.distributed import Client, LocalCluster
from pictures import encoded, lesion

from skin_cancer import ArchiveError, Classifier, ClusterError
from skin_cancer.scale import scoring

SETTINGS = ["model", "graph", "views", "prior", "sensitivity"]


@pytest.fixture(scope="module")
def local():
    """A cluster of two processes."""
    with scoring.cluster(workers=2) as client:
        yield client


@pytest.fixture(scope="module")
def inside():
    """A cluster in this process, which shares its memory."""
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    cluster = LocalCluster(processes=False, **options)
    with cluster, scoring.cluster(cluster.scheduler_address) as client:
        yield client


@pytest.fixture
def archive(tmp_path):
    """A folder of five pictures in two folders."""
    folder = tmp_path / "archive"
    (folder / "deeper").mkdir(parents=True)
    for number in range(5):
        place = folder / "deeper" if number % 2 else folder
        (place / f"lesion {number}.jpg").write_bytes(encoded(lesion(300, 225, seed=number)))
    (folder / "notes.txt").write_text("not a picture")
    return folder


def same(ours, theirs):
    pd.testing.assert_frame_equal(by_name(ours), by_name(theirs))


def by_name(table):
    names = table["address"].str.rpartition("/")[2]
    return table.drop(columns="address").set_index(names).sort_index()


@pytest.fixture
def larger(sample, tmp_path):
    """A folder of 120 sample pictures."""
    folder = tmp_path / "larger"
    folder.mkdir()
    for picture in sorted(sample.rglob("*.jpg"))[:120]:
        shutil.copy(picture, folder)
    return folder


def test_a_killed_worker_costs_no_row_and_doubles_none(local, larger, tmp_path):
    output = tmp_path / "disturbed"

    def kill_one(client):
        while len(list(output.glob("shard-*"))) < 4:
            time.sleep(0.05)
        os.kill(min(client.run(os.getpid).values()), signal.SIGKILL)

    with scoring.cluster(workers=2) as client:
        killer = threading.Thread(target=kill_one, args=[client])
        killer.start()
        scoring.score(str(larger), str(output), client, shard_size=5)
        killer.join()
    scoring.score(str(larger), str(tmp_path / "undisturbed"), local)
    table = scoring.read(str(output))
    assert len(table) == table["address"].nunique() == 120
    assert table["error"].isna().all()
    same(table, scoring.read(str(tmp_path / "undisturbed")))
    assert not list(output.glob("*.part"))


def test_rows_are_what_the_classifier_says(local, archive, tmp_path):
    output = str(tmp_path / "scores")
    scoring.score(str(archive), output, local, graph="int8", views=2, prior="training")
    classifier = Classifier.load(graph="int8", threads=1)
    table = scoring.read(output)
    assert len(table) == 5
    for row in table.to_dict("records"):
        found = classifier.predict(row["address"], views=2, prior="training")
        assert row["diagnosis"] == found.diagnosis
        assert row["malignancy"] == found.malignancy
        assert {code: row[code] for code in found.probabilities} == found.probabilities
        assert tuple(row["prediction_set"]) == found.prediction_set
        assert row["unfamiliarity"] == found.unfamiliarity
        assert list(row["quality"]) == list(found.quality)
        assert [row[name] for name in SETTINGS[1:]] == ["int8", 2, "training", 0.95]
        assert row["model"].startswith("ham10000_lite0 ")


def test_a_second_run_does_nothing_and_new_pictures_make_new_shards(local, archive, tmp_path):
    output = tmp_path / "scores"
    scoring.score(str(archive), str(output), local, shard_size=3)
    before = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    scoring.score(str(archive), str(output), local, shard_size=3)
    assert {path: path.stat().st_mtime_ns for path in output.iterdir()} == before
    (archive / "another.jpg").write_bytes(encoded(lesion(seed=9)))
    scoring.score(str(archive), str(output), local, shard_size=3)
    kept = {path: time for path, time in before.items() if path.name.startswith("shard")}
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    table = scoring.read(str(output))
    assert len(table) == table["address"].nunique() == 6


def test_other_settings_are_refused_in_the_same_folder(local, archive, tmp_path):
    output = str(tmp_path / "scores")
    scoring.score(str(archive), output, local)
    with pytest.raises(ArchiveError, match="holds scores with views=1"):
        scoring.score(str(archive), output, local, views=8)


def test_scores_of_another_schema_are_refused_with_what_to_do(local, archive, tmp_path):
    output = tmp_path / "scores"
    scoring.score(str(archive), str(output), local)
    path = output / scoring.SETTINGS
    settings = json.loads(path.read_text())
    del settings["schema"]  # as version 0.1 wrote them
    path.write_text(json.dumps(settings))
    for read in (
        lambda: scoring.read(str(output)),
        lambda: scoring.score(*map(str, (archive, output)), local),
    ):
        with pytest.raises(ArchiveError, match=r"schema 1; .* Score the archive again"):
            read()


@pytest.mark.parametrize("wrong", [{"prior": "flat"}, {"sensitivity": 0.5}])
def test_a_prior_or_sensitivity_that_the_bundle_lacks_is_refused(local, archive, tmp_path, wrong):
    with pytest.raises(ValueError, match=r"take 'training'|there are 0.9"):
        scoring.score(str(archive), str(tmp_path / "scores"), local, **wrong)
    assert not (tmp_path / "scores").exists()


def test_a_bad_picture_is_a_row(local, archive, tmp_path):
    bad = {
        "text.jpg": b"only text",
        "cut.jpg": encoded(lesion())[:4000],
        "empty.png": b"",
        "tiny.png": encoded(lesion(20, 20), ".png"),
        "<b>näme.jpg": b"\xff\xd8\xff",
    }
    for name, content in bad.items():
        (archive / name).write_bytes(content)
    with (archive / "huge.jpg").open("wb") as file:
        file.truncate(10_000_000_000)
    (archive / "gone.jpg").symlink_to(archive / "nowhere.jpg")
    scoring.score(str(archive), str(tmp_path / "scores"), local)
    errors = scoring.read(str(tmp_path / "scores")).set_index("address")["error"].dropna()
    names = {address.rpartition("/")[2]: text for address, text in errors.items()}
    assert set(names) - {"gone.jpg"} == {*bad, "huge.jpg"}
    assert "cannot be read as an image" in names["text.jpg"]
    assert "damaged or incomplete" in names["cut.jpg"]
    assert "at most 50 MB" in names["huge.jpg"]
    assert len(scoring.read(str(tmp_path / "scores"))) >= 5 + len(names)


def test_what_could_not_be_written_is_said_and_done_by_the_next_run(
    inside, archive, tmp_path, monkeypatch
):
    output = tmp_path / "scores"
    write = scoring._write

    def full(files, path, content):
        if "shard-000001" in path:
            raise OSError(28, "No space left on device")
        write(files, path, content)

    with monkeypatch.context() as patched:
        patched.setattr(scoring, "_write", full)
        with pytest.raises(ArchiveError, match=r"1 of 3 shards .*No space left on device"):
            scoring.score(str(archive), str(output), inside, shard_size=2)
    assert len(scoring.read(str(output))) == 3
    scoring.score(str(archive), str(output), inside, shard_size=2)
    assert len(scoring.read(str(output))) == 5


def test_a_write_that_is_cut_off_leaves_nothing(tmp_path):
    files = fsspec.filesystem("file")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(OSError, match="taken"):
        scoring._write(files, str(tmp_path / "nowhere" / "taken"), b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_from_memory_to_memory(inside, archive):
    files = fsspec.filesystem("memory")
    files.put(f"{archive}/", "/pictures/", recursive=True)
    scoring.score("memory://pictures", "memory://scores", inside)
    table = scoring.read("memory://scores")
    assert set(table["address"].str.partition("/pictures/")[0]) == {"memory://"}
    assert len(table) == 5
    assert table["error"].isna().all()


class Flaky(http.server.SimpleHTTPRequestHandler):
    """A server of a folder that refuses the first request for each picture."""

    def do_GET(self):
        if self.path.endswith(".jpg") and self.path not in self.server.asked:
            self.server.asked.add(self.path)
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def address(archive):
    """The address of a web server of the archive."""
    handler = functools.partial(Flaky, directory=archive)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.asked = set()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_from_a_web_server_that_refuses_at_first(local, address, archive, tmp_path):
    names = ["lesion%200.jpg", "deeper/lesion%201.jpg", "missing.jpg"]
    pd.DataFrame({"path": names}).to_csv(archive / "table.csv")
    scoring.score(f"{address}/table.csv", str(tmp_path / "scores"), local)
    table = scoring.read(str(tmp_path / "scores")).set_index("address")
    assert sorted(table.index) == sorted(f"{address}/{name}" for name in names)
    assert list(table["error"].dropna().index) == [f"{address}/missing.jpg"]


def test_a_folder_of_a_web_server_is_listed(address):
    names = {found.removeprefix(address) for found in scoring.list_pictures(f"{address}/")}
    assert {"/lesion%200.jpg", "/deeper/lesion%201.jpg"} <= names


@pytest.mark.parametrize(
    ("source", "count"),
    [("", 5), ("/*.jpg", 3), ("/**/*.jpg", 5), ("/lesion 0.jpg", 1), ("/table.parquet", 2)],
)
def test_each_kind_of_source(archive, source, count):
    paths = ["deeper/lesion 1.jpg", str(archive / "lesion 0.jpg"), None]
    pd.DataFrame({"path": paths}).to_parquet(archive / "table.parquet")
    found = scoring.list_pictures(f"{archive}{source}")
    assert len(found) == count
    assert all(os.path.isfile(path) for path in found)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("/nowhere", "no such folder"),
        ("/notes.txt", "no such folder"),
        ("/nowhere.csv", "cannot be listed"),
        ("/other.csv", "no column 'path'"),
        ("/empty", "no pictures in"),
        ("/*.webp", "no pictures in"),
    ],
)
def test_a_source_that_holds_nothing_is_said(archive, source, words):
    (archive / "empty").mkdir()
    pd.DataFrame({"name": ["a.jpg"]}).to_csv(archive / "other.csv")
    with pytest.raises(ArchiveError, match=words):
        scoring.list_pictures(f"{archive}{source}")


def test_what_an_object_store_needs_is_said():
    with pytest.raises(ArchiveError, match=r"make \.venv/cloud\.done"):
        scoring.list_pictures("s3://bucket/pictures")


def test_a_scheduler_that_is_not_there_is_said(monkeypatch):
    """After as long as the client waits for it, which is cut short here."""
    monkeypatch.setattr(scoring, "Client", lambda address, **_: Client(address, timeout=0.1))
    absent = scoring.cluster("tcp://127.0.0.1:9")
    with pytest.raises(ClusterError, match=r"No Dask scheduler answers at tcp:"), absent:
        pass


def test_a_folder_without_scores_is_said(tmp_path):
    with pytest.raises(ArchiveError, match="holds no scores"):
        scoring.read(str(tmp_path))
