"""Runs: a folder each, none done twice, several at once, and no failure stops the others."""

import argparse
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import ROOT
from dask.system import CPU_COUNT

from skin_cancer.scale import runs

END = "end.txt"


def planned(folder, *tasks):
    return [runs.Run(folder / task, END, task) for task in tasks]


def finish(folder, task):
    with (folder / "attempts").open("a") as file:
        file.write("x")
    (folder / END).write_text(task)
    if task == "bad" and not (folder / "mended").exists():
        raise ValueError("too large\nfor this")


def attempts(all_runs):
    return [len((run.folder / "attempts").read_text()) for run in all_runs]


@pytest.fixture
def executor():
    """Two runs at a time."""
    with ThreadPoolExecutor(2) as executor:
        yield executor


def test_what_is_finished_is_not_done_again_and_what_failed_is(tmp_path, executor):
    all_runs = planned(tmp_path, "a", "bad", "c")
    errors = runs.run_all(all_runs, finish, executor)
    assert errors == {tmp_path / "bad": "ValueError: too large"}
    assert [run.finished for run in all_runs] == [True, False, True]
    (tmp_path / "bad" / "mended").touch()
    assert runs.run_all(all_runs, finish, executor) == {}
    assert attempts(all_runs) == [1, 2, 1]


def test_several_run_at_once(tmp_path, executor):
    both = threading.Barrier(2, timeout=10)
    assert runs.run_all(planned(tmp_path, "a", "b"), lambda *_: both.wait(), executor) == {}


def test_the_folder_is_that_of_the_caller_wherever_the_work_is_done(
    tmp_path, executor, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    [run] = planned(tmp_path.relative_to(tmp_path), "bad")
    places = []

    def fail(folder, _):
        places.append(folder)
        raise ValueError("no")

    assert runs.run_all([run], fail, executor) == {run.folder: "ValueError: no"}
    assert places == [tmp_path / "bad"]


def test_what_has_not_begun_is_given_up_when_the_user_interrupts(tmp_path, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "as_completed", interrupted)
    all_runs, go_on = planned(tmp_path, "a", "b", "c"), threading.Event()

    def wait(folder, task):
        go_on.wait(10)
        finish(folder, task)

    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(KeyboardInterrupt):
            runs.run_all(all_runs, wait, executor)
        go_on.set()
    assert [run.finished for run in all_runs] == [True, False, False]


def test_the_cores_are_shared():
    threads = {int(value) for value in runs.shared_cores(2).values()}
    assert threads == {max(1, CPU_COUNT // 2)}
    assert set(runs.shared_cores(10 * CPU_COUNT).values()) == {"1"}


def test_how_many_at_a_time_is_at_least_one():
    assert runs.jobs("2") == 2
    with pytest.raises(argparse.ArgumentTypeError, match="at least 1"):
        runs.jobs("0")


def test_what_runs_and_publishes_trainings_loads_neither_tensorflow_nor_keras():
    modules = ("publish", "recipes", "runs", "scoring", "sweep")
    code = "; ".join(["import sys", *(f"import skin_cancer.scale.{name}" for name in modules)])
    code += "; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
