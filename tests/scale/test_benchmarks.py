"""What the benchmarks compare does the same thing, and is compared fairly."""

import os

import numpy as np
import pandas as pd
import pytest
from pictures import encoded, lesion

from skin_cancer import Classifier
from skin_cancer.images import squares
from skin_cancer.model import bundle
from skin_cancer.scale import benchmarks


def test_each_round_calls_all_in_an_order_of_its_own():
    called = []
    calls = {name: lambda name=name: called.append(name) for name in "abc"}
    times = benchmarks.alternate(calls, rounds=6, block=3)
    assert list(times) == ["a", "b", "c"]
    assert len(times) == 6
    assert (times >= 0).all(axis=None)
    timed = called[6:]  # each was called twice before
    blocks = [timed[i : i + 3] for i in range(0, len(timed), 3)]
    assert all(len(set(block)) == 1 for block in blocks)
    orders = {tuple(block[0] for block in blocks[i : i + 3]) for i in range(0, len(blocks), 3)}
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert len(orders) > 1


def test_ratios_are_those_within_a_round():
    times = pd.DataFrame({"ours": [1.0, 10.0, 2.0], "theirs": [2.0, 30.0, 4.0]})
    found = benchmarks.compared(times, "ours")
    assert found.loc["theirs", "ratio"] == 2
    assert found.loc["theirs", "ratio to"] == 2.5
    assert found.loc["ours", "median"] == 2
    assert found.loc["ours", "ratio from"] == found.loc["ours", "ratio to"] == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_all_engines_give_the_same_logits(threads):
    square = squares.centre_square(lesion(), 224)[None]
    engines = benchmarks.engines(bundle.DEFAULT_BUNDLE, threads)
    assert len(engines) == 5
    engines["tf.function"] = benchmarks.compiled(bundle.DEFAULT_BUNDLE)
    ours = benchmarks.logits(engines["LiteRT, float (ours)"](square))
    for name, engine in engines.items():
        difference = np.abs(benchmarks.logits(engine(square)) - ours).max()
        # A processor without 8-bit dot products rounds further: 0.7 of OpenVINO on some.
        assert difference < (1 if "int8" in name else 0.01), name


def test_the_steps_are_those_of_an_answer(picture):
    steps = benchmarks.stages(bundle.DEFAULT_BUNDLE, picture)
    theirs = Classifier.load().predict(picture).heatmaps
    for found in (steps["heatmaps of all diagnoses"](), steps["all"]()):
        assert found.keys() == theirs.keys()
        assert all((found[code] == theirs[code]).all() for code in found)


def test_an_archive_costs_the_disk_its_pictures_once(tmp_path):
    pictures = [encoded(lesion(seed=seed)) for seed in range(3)]
    folder = benchmarks.archive(tmp_path / "archive", pictures, 10)
    files = sorted(folder.iterdir())
    assert [path.read_bytes() for path in files] == [pictures[i % 3] for i in range(10)]
    assert len({os.stat(path).st_ino for path in files}) == 3


def test_every_loop_scores_every_picture(tmp_path, picture):
    folder = benchmarks.archive(tmp_path / "archive", [picture], 5)
    for name, loop in benchmarks.loops(bundle.DEFAULT_BUNDLE, folder).items():
        assert loop() == 5, name


def test_a_page_with_tensorflow_needs_more_memory():
    ours, theirs = (benchmarks.visits([1], tensorflow) for tensorflow in (False, True))
    assert theirs["memory"] > 2 * ours["memory"] > 100
    assert list(ours["waits"]) == [1]
