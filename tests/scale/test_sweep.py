"""Sweeps: a folder a combination, failures as rows, and nothing done twice."""

import json
import os
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from conftest import ROOT, call, shell
from dask.distributed import Client
from dask.system import CPU_COUNT

from skin_cancer.errors import ClusterError, ParameterError
from skin_cancer.scale import sweep

DECLARED = """\
output: str = ""  # folder
rate: float = 0.1  # a number
size: int = 1  # another
dies: bool = False  # whether the kernel ends early"""
BODY = """\
import json, os
from pathlib import Path
with Path(output, "attempts").open("a") as file:
    file.write("x")
if dies:
    os._exit(1)
threads = [int(os.environ[name]) for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")]
metrics = {"score": rate * size, "threads": max(threads), "worker": os.getppid()}
Path(output, "metrics.json").write_text(json.dumps({**metrics, "place": os.getcwd()}))
if (rate, size) == (0.2, 20) and not Path(output, "mended").exists():
    raise ValueError("too large\\nfor this")"""
GRID = {"rate": [0.1, 0.2], "size": [10, 20], "dies": [False]}


@pytest.fixture
def notebook(tmp_path):
    """A small notebook of which one combination fails until it is mended."""
    cells = [nbformat.v4.new_code_cell(source) for source in (DECLARED, BODY)]
    cells[0].metadata.tags = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = tmp_path / "small.ipynb"
    made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(made, path)
    return path


@pytest.fixture(scope="module")
def client():
    """A client of two workers."""
    with sweep.cluster(jobs=2) as client:
        yield client


@pytest.fixture
def runs(tmp_path):
    """The folder of all runs."""
    return tmp_path / "runs"


def attempts(table):
    return [len(Path(folder, "attempts").read_text()) for folder in table["folder"]]


def test_a_failed_run_is_a_row_and_alone_is_tried_again(client, notebook, runs):
    table = sweep.sweep(notebook, GRID, client, runs)
    assert table[["rate", "size"]].to_numpy().tolist() == [
        [0.1, 10],
        [0.1, 20],
        [0.2, 10],
        [0.2, 20],
    ]
    assert table["score"].tolist()[:3] == [1.0, 2.0, 2.0]
    assert table["error"].tolist()[3] == "ValueError: too large"
    assert table["error"].isna().tolist() == table["score"].notna().tolist() == 3 * [True] + [False]
    assert (table["seconds"] > 0).all()
    assert attempts(table) == [1, 1, 1, 1]
    place = sweep.results(notebook, GRID, runs)
    assert list(pd.read_csv(place / sweep.TABLE)) == list(table)
    assert (place / sweep.FIGURE).read_bytes().startswith(b"\x89PNG")

    Path(table["folder"].iloc[3], "mended").touch()
    again = sweep.sweep(notebook, GRID, client, runs)
    assert again["score"].tolist() == [1.0, 2.0, 2.0, 4.0]
    assert again["error"].isna().all()
    assert attempts(again) == [1, 1, 1, 2]
    assert again["seconds"].tolist()[:3] == table["seconds"].tolist()[:3]


def test_a_run_has_its_notebook_parameters_cores_and_the_projects_folder(client, notebook, runs):
    grid = {"rate": [0.1, 0.3], "size": [10]}
    table = sweep.sweep(notebook, grid, client, runs)
    for rate, folder in zip(grid["rate"], map(Path, table["folder"]), strict=True):
        assert json.loads((folder / sweep.PARAMETERS).read_text()) == {"rate": rate, "size": 10}
        assert f"rate = {rate}" in nbformat.read(folder / notebook.name, 4).cells[1].source
        assert json.loads((folder / sweep.METRICS).read_text())["place"] == str(ROOT)
    assert "place" not in table
    assert set(table["threads"]) == {max(1, CPU_COUNT // 2)}
    assert table["worker"].nunique() == 2
    assert os.getpid() not in set(table["worker"])


def test_a_dead_kernel_is_a_row(client, notebook, runs):
    table = sweep.sweep(notebook, {"dies": [True]}, client, runs)
    assert table["error"].tolist() == ["DeadKernelError: Kernel died"]
    assert sorted(os.listdir(sweep.results(notebook, {"dies": [True]}, runs))) == [sweep.TABLE]


def test_the_order_of_the_parameters_does_not_matter(notebook):
    one, other = {"rate": 0.1, "size": 1}, {"size": 1, "rate": 0.1}
    assert sweep._run_folder(notebook, one, "runs") == sweep._run_folder(notebook, other, "runs")
    assert sweep._run_folder(notebook, one, "runs") != sweep._run_folder(notebook, {}, "runs")


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"rat": [1], "size": [1, 2]}, "rat is unknown. There are rate, size, dies"),
        ({"output": ["here"]}, "output is unknown"),
        ({"rate": []}, "rate has no value"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(client, notebook, runs, grid, words):
    with pytest.raises(ParameterError, match=words):
        sweep.sweep(notebook, grid, client, runs)
    assert not runs.exists()


def test_a_notebook_that_is_absent_or_writes_nowhere_is_refused(client, notebook, runs):
    with pytest.raises(ParameterError, match="cannot be read"):
        sweep.sweep(notebook.with_name("other.ipynb"), GRID, client, runs)
    notebook.write_text(notebook.read_text().replace("output", "target"))
    with pytest.raises(ParameterError, match="has no parameter output"):
        sweep.sweep(notebook, GRID, client, runs)


def test_workers_without_the_resource_are_refused(notebook, runs):
    refused = pytest.raises(ClusterError, match='--resources "training=1"')
    with Client(processes=False, dashboard_address=None) as client, refused:
        sweep.sweep(notebook, GRID, client, runs)


def test_a_scheduler_that_is_not_there_is_said():
    absent = sweep.cluster(scheduler="nowhere://1")
    with pytest.raises(ClusterError, match=r"No Dask scheduler answers at nowhere:"), absent:
        pass


def test_from_the_shell_on_a_running_cluster(client, notebook, runs):
    address = f"--scheduler={client.scheduler.address}"
    options = [str(notebook), address, f"--output={runs}", "-p", "rate", "0.5", "1", "-p", "size"]
    done = shell("scale.sweep", *options, "10")
    assert done.returncode == 0, done.stderr
    grid = {"rate": [0.5, 1], "size": [10]}
    place = sweep.results(notebook, grid, runs)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Dashboard: http://")
    assert lines[-2:] == [str(place / sweep.FIGURE), str(place / sweep.TABLE)]
    assert lines[1].split() == list(pd.read_csv(place / sweep.TABLE))
    assert "2/2" in done.stderr


def test_from_the_shell_a_wrong_name_is_said(runs):
    done = call("scale.sweep", f"--output={runs}", "-p", "rat", "0.5", "-p", "fold")
    assert done.returncode != 0
    words = (
        "Wrong parameters: rat is unknown; fold has no value. There are data, lesions, columns, "
    )
    assert words in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("7e-4", 7e-4), ("true", True), ("None", None), ("frozen", "frozen")],
)
def test_values_are_read_as_papermill_reads_them(text, value):
    assert sweep._value(text) == value
    assert type(sweep._value(text)) is type(value)
