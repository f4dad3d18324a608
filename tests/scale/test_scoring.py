"""An archive of pictures scored on a real Dask cluster: every picture has one row."""

import csv
import functools
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote, urlsplit

import fsspec
import pandas as pd
import pytest
from conftest import UNPRIVILEGED
from dask.distributed import Client, LocalCluster
from pictures import encoded, lesion

from skin_cancer import ArchiveError, Classifier, ClusterError
from skin_cancer.evaluation import figures
from skin_cancer.images import decoding, squares
from skin_cancer.scale import archive as archives
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
        while len(list(output.glob("scores/shard-*"))) < 4:
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
    assert not list(output.rglob("*.part"))


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
        assert row["model"].startswith("isic_lite0 ")


def test_a_second_run_does_nothing_and_new_pictures_make_new_shards(local, archive, tmp_path):
    output = tmp_path / "scores"
    scoring.score(str(archive), str(output), local, shard_size=3)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    scoring.score(str(archive), str(output), local, shard_size=3)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert set(output.rglob("*")) == set(before)
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

    def full(files, place, name, content):
        if "shard-000001" in name:
            raise OSError(28, "No space left on device")
        write(files, place, name, content)

    with monkeypatch.context() as patched:
        patched.setattr(scoring, "_write", full)
        with pytest.raises(ArchiveError, match=r"1 of 3 shards .*No space left on device"):
            scoring.score(str(archive), str(output), inside, shard_size=2)
    assert len(scoring.read(str(output))) == 3
    scoring.score(str(archive), str(output), inside, shard_size=2)
    assert len(scoring.read(str(output))) == 5


def test_a_write_that_is_cut_off_leaves_nothing(tmp_path):
    files = fsspec.filesystem("file")
    (tmp_path / "taken").touch()
    with pytest.raises(OSError, match="taken"):
        scoring._write(files, str(tmp_path), "taken/name", b"content")
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
        self.path = urlsplit(self.path).path  # of a proxy the whole address is asked
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


def test_a_folder_of_a_web_server_is_listed(address, archive):
    (archive / "@eaDir").mkdir()
    (archive / "@eaDir" / "lesion 0.jpg").touch()
    found = scoring.list_pictures(f"{address}/")
    assert found == scoring.list_pictures(address)
    names = [f"lesion%20{number}.jpg" for number in range(5)]
    places = ["", "deeper/"]
    assert found == sorted(f"{address}/{places[i % 2]}{name}" for i, name in enumerate(names))


@pytest.mark.parametrize(
    ("source", "count"),
    [("", 6), ("/*.jpg", 3), ("/**/*.jpg", 5), ("/lesion 0.jpg", 1), ("/table.parquet", 2)],
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
        ("/lesion 9.jpg", "no such folder or file"),
        ("/nowhere.csv", r"cannot be listed: No such file or directory\.$"),
        ("/other.csv", r"no column 'path'\.$"),
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


# Names that a system allows and a program may take for something else.
NAMES = [
    *(b"IMG[1].jpg", b"a#1.jpg", b"a?b*.jpg", b"{a,b}.jpg", b"two\nlines.jpg", b"~a.jpg"),
    *(b"x::y.jpg", b"file:a.jpg", b"100%25.jpg", b" blank .jpg", b"back\\slash.jpg"),
    *("\u00e4.jpg".encode(), b"\xe4.jpg"),
]


@pytest.fixture
def named(tmp_path):
    """A folder with a name of that kind that holds a picture with each of them."""
    folder = tmp_path / "scans [2024] #1"
    folder.mkdir()
    for name in NAMES:
        (folder / os.fsdecode(name)).write_bytes(encoded(lesion(96, 72)))
    return folder


def test_any_name_is_read_once_into_any_folder(inside, named, tmp_path):
    output = tmp_path / os.fsdecode(b"out [1] :: \xe4") / "prior=clinic"
    for _ in range(2):
        scoring.score(str(named), str(output), inside)
        table = scoring.read(output)
        assert table["error"].isna().all()
    found = [os.fsencode(archives.path_of(address)) for address in table["address"]]
    assert sorted(found) == sorted(os.fsencode(named) + b"/" + name for name in NAMES)
    assert [address for address in table["address"] if address.startswith("file:")] == [
        f"file://{quote(str(named))}/%E4.jpg"
    ]


def test_pandas_reads_the_folder_of_scores(inside, archive, tmp_path):
    output = tmp_path / "out [1] #\u00e4" / "prior=clinic"
    scoring.score(archive, output, inside, shard_size=2)
    table = scoring.read(output)
    assert len(table) == 5
    pd.testing.assert_frame_equal(pd.read_parquet(output / "scores"), table)


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_a_source_and_stands_in_a_table(named, name, monkeypatch):
    monkeypatch.chdir(named)
    text = os.fsdecode(name)
    (address,) = scoring.list_pictures(f"{named}/{text}")
    assert os.fsencode(archives.path_of(address)) == os.fsencode(named) + b"/" + name
    if not text.startswith("~"):  # the user's home
        assert scoring.list_pictures(text) == scoring.list_pictures(f"./{text}") == [address]
    with Path("names.csv").open("w", errors="surrogateescape", newline="") as file:
        csv.writer(file).writerows(
            [["path"], [text], [f"./{text}"], [f"{named}/{text}"], [address]]
        )
    assert scoring.list_pictures("names.csv") == [address]


def test_addresses_are_the_same_in_any_locale(named):
    code = "import sys; from skin_cancer.scale import archive; "
    code += "found = archive.list_pictures(sys.argv[1]); print(ascii(found)); "
    code += "print(all(isinstance(one, bytes) for _, one in archive.fetched(found)))"
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, named]
    done = subprocess.check_output(command, env={**os.environ, **ascii_alone}, text=True)
    assert done == f"{scoring.list_pictures(named)!a}\nTrue\n"


def test_a_folder_of_any_name_may_have_a_pattern(named):
    found = scoring.list_pictures(f"{named}/*a*.jpg")
    assert len(found) == sum(b"a" in name for name in NAMES)


def test_the_name_of_a_table_is_taken_as_it_stands_before_its_backslashes_are_turned(archive):
    (archive / "lesion 0.jpg").rename(archive / "deeper\\lesion 1.jpg")
    rows = "x;path\n1;deeper\\lesion 1.jpg\n2;deeper\\lesion 3.jpg\n"
    (archive / "table.csv").write_text(rows)
    names = ["deeper/lesion 3.jpg", "deeper\\lesion 1.jpg"]
    assert scoring.list_pictures(archive / "table.csv") == [f"{archive}/{name}" for name in names]


def test_words_of_a_table_are_names(archive):
    for name in ("007", "NA", "nan"):
        shutil.copy(archive / "lesion 0.jpg", archive / name)
    (archive / "table.csv").write_text("path\n007\nNA\n\nnan\n")
    found = scoring.list_pictures(archive / "table.csv")
    assert found == [f"{archive}/{name}" for name in ("007", "NA", "nan")]


def test_two_dots_after_a_link_lead_where_the_system_says(archive):
    (archive / "link").symlink_to(archive / "deeper")
    shutil.copy(archive / "lesion 0.jpg", archive / "deeper" / "0.jpg")
    (archive / "table.csv").write_text("path\ndeeper/../lesion 0.jpg\nlink/../lesion 0.jpg\n")
    assert scoring.list_pictures(archive / "table.csv") == [f"{archive}/lesion 0.jpg"]


def test_what_systems_hide_or_add_is_passed_over_and_all_else_is_a_row(inside, archive):
    hidden = ["__MACOSX/._a.jpg", "@eaDir/a.jpg/s.jpg", ".ipynb_checkpoints/a.jpg", "._a.jpg", ".a"]
    shown = ["notes.txt", "Thumbs.db", "empty", "film.mp4", "a.jpg.bak"]
    for name in hidden + shown:
        (archive / name).parent.mkdir(exist_ok=True, parents=True)
        (archive / name).write_bytes(b"no picture" if name != "empty" else b"")
    shutil.copy(archive / "lesion 0.jpg", archive / "without an ending")
    (archive / "gone.jpg").symlink_to(archive / "nowhere.jpg")
    (archive / "again").symlink_to(archive)
    os.mkfifo(archive / "pipe")
    scoring.score(str(archive), str(archive / "scores of it"), inside)
    scoring.score(f"{archive}/.", str(archive / "scores of it"), inside)
    table = scoring.read(archive / "scores of it")
    errors = {row.address.removeprefix(f"{archive}/"): row.error for row in table.itertuples()}
    assert len(table) == len(errors) == 5 + len(shown) + 2
    assert pd.isna(errors["without an ending"])
    assert errors["gone.jpg"] == "No such file or directory"
    assert all(errors[name].startswith("not an image: ") for name in shown)


def test_a_folder_that_cannot_be_opened_is_a_row(archive):
    (archive / "deeper").chmod(0o000)
    code = "import sys; from skin_cancer.scale import archive, scoring; "
    code += "print(*dict(archive.fetched(scoring.list_pictures(sys.argv[1]))).items(), sep='\\n')"
    done = subprocess.check_output([*UNPRIVILEGED, sys.executable, "-c", code, archive], text=True)
    (archive / "deeper").chmod(0o755)
    assert f"('{archive}/deeper', PermissionError(13, 'Permission denied'))" in done
    assert len(done.splitlines()) == 4


def test_the_same_source_written_otherwise_goes_on(inside, archive, tmp_path, monkeypatch):
    monkeypatch.chdir(archive.parent)
    for source in (archive, f"{archive}/", "archive", "./archive/", f"{archive}/deeper/.."):
        scoring.score(source, "scores", inside)
    assert len(scoring.read(tmp_path / "scores")) == 5


def test_an_output_that_cannot_be_written_is_said(inside, archive, tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(ArchiveError, match="taken cannot be written: Not a directory"):
        scoring.score(archive, tmp_path / "taken", inside)


def test_a_second_run_at_once_is_refused_and_loses_nothing(inside, archive, tmp_path):
    code = "import sys; from skin_cancer import ArchiveError, folders\n"
    code += "with folders.alone(sys.argv[1], ArchiveError): print('in', flush=True); input()"
    (tmp_path / "scores").mkdir()
    command = [sys.executable, "-c", code, tmp_path / "scores"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == b"in\n"
        with pytest.raises(ArchiveError, match=r"Another run is writing to .*scores\. Wait for it"):
            scoring.score(archive, tmp_path / "scores", inside)
        other.kill()  # a lock ends with its process
    scoring.score(archive, tmp_path / "scores", inside)
    assert len(scoring.read(tmp_path / "scores")) == 5


def test_proxies_of_the_environment_are_used(address, monkeypatch):
    """The server stands for a proxy: it is asked for a host that there is not."""
    monkeypatch.setenv("http_proxy", address)
    monkeypatch.setenv("no_proxy", "")
    (content,) = dict(archives.fetched(["http://pictures.invalid/lesion%200.jpg"])).values()
    assert content[:2] == b"\xff\xd8"


def test_the_most_suspicious_are_looked_at_again(inside, archive, tmp_path):
    shutil.copy(archive / "lesion 0.jpg", archive / "$a_b$.jpg")  # no formula
    scoring.score(archive, tmp_path / "scores", inside, views=2)
    first = scoring.read(tmp_path / "scores").nlargest(3, "malignancy")
    classifier = Classifier.load(threads=1)
    seen = scoring.look_again(first, classifier)
    for row, image, heatmap, title in zip(first.itertuples(), *seen.values(), strict=True):
        found = classifier.predict(row.address, views=2)
        code = max(("MEL", "BCC", "AKIEC"), key=found.probabilities.__getitem__)
        whole = decoding.decode(Path(row.address).read_bytes())
        assert (image == squares.centre_square(whole, 224)).all()
        assert (heatmap == found.heatmaps[code]).all()
        name = row.address.rpartition("/")[2]
        assert title == f"{name}\n{code}: {found.verdict().percents[0]}, {found.verdict().words}"
    assert len(figures.png(figures.beside_heatmaps(**seen))) > 1000
    (archive / "lesion 0.jpg").unlink()
    with pytest.raises(ArchiveError, match=r"lesion 0\.jpg cannot be read again: No such file"):
        scoring.look_again(scoring.read(tmp_path / "scores"), classifier)


def test_a_legend_stands_beside_the_bars():
    (axes,) = figures.malignancies(pd.DataFrame({"malignancy": [0.1, 0.9]}), {0.95: 0.2}).axes
    assert axes.get_legend().get_window_extent().x0 >= axes.get_window_extent().x1
