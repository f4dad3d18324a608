import dataclasses
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from conftest import call
from pictures import lesion

from skin_cancer import priors
from skin_cancer.errors import BundleError
from skin_cancer.evaluation import explanation, record
from skin_cancer.images.squares import centre_square
from skin_cancer.model import bundle, bundle_writer
from skin_cancer.model.classifier import Classifier


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(bundle.DEFAULT_BUNDLE, tmp_path / "bundle")


@pytest.fixture(scope="module")
def network():
    return keras.models.load_model(bundle.DEFAULT_BUNDLE / bundle.KERAS_MODEL, compile=False)


@pytest.fixture(scope="module")
def squares():
    size = bundle.read(bundle.DEFAULT_BUNDLE).input_size
    return np.stack([centre_square(lesion(seed=seed), size) for seed in range(4)])


def test_the_shipped_bundle_is_whole_and_small():
    description = bundle.read(bundle.DEFAULT_BUNDLE)
    assert description.diagnoses == ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC", "SCC")
    assert sum(description.prior.values()) == pytest.approx(1)
    assert description.input_size >= 224
    size = sum(path.stat().st_size for path in bundle.DEFAULT_BUNDLE.rglob("*"))
    assert size < 30e6


@pytest.mark.parametrize(
    "name", [*bundle.GRAPHS.values(), bundle.KERAS_MODEL, bundle.REFERENCE, bundle.CARD]
)
def test_one_changed_byte_is_refused_by_name(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} in the bundle .* is not the file"):
        Classifier.load(copy)


@pytest.mark.parametrize(
    "name", [*bundle.GRAPHS.values(), bundle.KERAS_MODEL, bundle.CARD, bundle.DESCRIPTION]
)
def test_a_missing_file_is_refused_by_name(copy, name):
    (copy / name).unlink()
    with pytest.raises(BundleError, match=name):
        Classifier.load(copy)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content.update(schema_version=99), "schema version 99"),
        (lambda content: content.pop("priors"), r"bundle.json in the bundle .* is not the file"),
        (lambda content: content["diagnoses"].reverse(), r"bundle.json in the bundle"),
        (lambda content: content.update(input_size=128), r"bundle.json in the bundle"),
        (lambda content: content.update(sha256=None), r"bundle.json is damaged"),
    ],
)
def test_another_description_is_refused(copy, change, words):
    path = copy / bundle.DESCRIPTION
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(BundleError, match=words):
        bundle.read(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_a_description_that_is_no_json_is_refused(copy, text):
    (copy / bundle.DESCRIPTION).write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError):
        bundle.read(copy)


def test_writing_replaces_the_bundle_and_its_card(copy):
    description = dataclasses.replace(bundle.read(copy), name="another")
    bundle_writer.write(copy, description, copy)
    assert bundle.read(copy) == description
    assert (copy / bundle.CARD).read_text().startswith("# another")
    assert [path.name for path in copy.parent.iterdir()] == ["bundle"]


def test_a_bundle_to_be_measured_needs_no_keras_model(copy, tmp_path):
    description = bundle.read(copy)
    (copy / bundle.KERAS_MODEL).unlink()
    bundle_writer.write(tmp_path / "without", description, copy)
    assert Classifier.load(tmp_path / "without").description == description
    with pytest.raises(BundleError, match=r"has no model\.keras, which gradients"):
        explanation.load_network(tmp_path / "without")
    bundle_writer.write(tmp_path / "without", description, tmp_path / "without")
    assert bundle.read(tmp_path / "without") == description


def test_tables_and_figures_are_kept_checked_and_shown_in_the_card(copy):
    title = "HAM10000, holdout"
    table = pd.DataFrame({"sex": ["female"], "recall": [0.5]}).set_index("sex")
    for png in (b"old", b"new"):
        record.illustrate(copy, title, "COMMAND", {"By someone": table}, {"a curve": png})
    record.save(copy, {**bundle.read(copy).metrics[title], "title": title})
    card = (copy / bundle.CARD).read_text()
    assert card.count("By `COMMAND`:") == 1
    assert "| sex | recall |\n| --- | --- |\n| female | 0.500 |" in card
    assert "![HAM10000, holdout: a curve](figures/ham10000_holdout_a_curve.png)" in card
    figure = copy / bundle.FIGURES / "ham10000_holdout_a_curve.png"
    assert figure.read_bytes() == b"new"
    figure.write_bytes(b"other")
    with pytest.raises(BundleError, match=figure.name):
        bundle.read(copy)


def test_what_thresholds_found_is_kept_as_numbers(copy):
    points = pd.DataFrame(
        {
            "threshold": [0.25],
            **{f"sensitivity{end}": [v] for end, v in (("", 0.9), (", low", 0.8), (", high", 1.0))},
            **{f"specificity{end}": [v] for end, v in (("", 0.7), (", low", 0.6), (", high", 0.8))},
        },
        index=pd.Index([0.95], name="aimed at"),
    )
    title = "HAM10000, holdout"
    found = {priors.CLINIC: record.measured_thresholds(points, "COMMAND")}
    kept = bundle.read(copy).metrics[title]
    record.save(copy, {**kept, "title": title, "thresholds": found})
    told, *_ = bundle.read(copy).found_at(priors.CLINIC, 0.95)
    assert told["title"] == title
    assert told["images"] == kept["images"]
    assert told["sensitivity"] == {"value": 0.9, "low": 0.8, "high": 1.0}
    assert told["specificity"]["value"] == 0.7
    elsewhere = bundle.read(copy).found_at(priors.SCREENING, 0.95)
    assert title not in {found["title"] for found in elsewhere}
    card = (copy / bundle.CARD).read_text()
    assert "| 0.950 | 0.250 | 0.900 (0.800 to 1.000) | 0.700 (0.600 to 0.800) |" in card


def test_measures_that_two_runs_save_at_once_are_all_kept(copy):
    measured = {name: {"title": name} for name in "abcdef"}
    shown = next(iter(bundle.read(copy).metrics.values()))
    with ThreadPoolExecutor(len(measured)) as runs:
        list(runs.map(lambda each: record.save(copy, {**shown, **each}), measured.values()))
    assert bundle.read(copy).metrics.keys() >= measured.keys()


def for_clinics_alone(description):
    """The description with thresholds for no other prior, of which version 3 knew nothing."""
    dataset = description.training["provenance"]["dataset"]
    thresholds = {priors.CLINIC: description.doubt["thresholds"][priors.CLINIC]}
    metrics = {
        title: {**found, "thresholds": {priors.CLINIC: found["thresholds"][priors.CLINIC]}}
        for title, found in description.metrics.items()
        if found.get("thresholds")
    }
    return dataclasses.replace(
        description,
        priors=priors.of_training(description.prior, dataset),
        doubt={**description.doubt, "thresholds": thresholds},
        metrics={**description.metrics, **metrics},
    )


def rounded(content):
    """The content with each number as version 3 kept it in a table."""
    if isinstance(content, dict):
        return {name: rounded(value) for name, value in content.items()}
    if isinstance(content, list):
        return [rounded(value) for value in content]
    return float(f"{content:.3f}") if isinstance(content, float) else content


def as_schema_3(folder):
    """Rewrite the description of a bundle as version 0.1 of the program wrote it."""

    def text(cell):
        if cell is None:
            return "-"
        if isinstance(cell, dict):
            return "{value:.3f} ({low:.3f} to {high:.3f})".format(**cell)
        return f"{cell:.3f}" if isinstance(cell, float) else str(cell)

    content = json.loads((folder / bundle.DESCRIPTION).read_text())
    content |= {"schema_version": 3, "prior": content.pop("priors")["training"]["shares"]}
    content["doubt"]["malignancy"] = content["doubt"].pop("thresholds")["clinic"]
    for measured in content["metrics"].values():
        thresholds = measured.pop("thresholds", None)
        for table in measured["tables"].values():
            table["rows"] = [[text(cell) for cell in row] for row in table["rows"]]
        if thresholds:
            columns = ["aimed at", "threshold", "sensitivity", "sensitivity, low"]
            columns += ["sensitivity, high", "specificity", "specificity, low", "specificity, high"]
            rows = [
                [point["aimed at"], point["threshold"]]
                + [point[n][e] for n in ("sensitivity", "specificity") for e in point[n]]
                for point in thresholds["clinic"]["points"]
            ]
            measured["tables"]["Malignant or precursor, thresholds set on other images"] = {
                "columns": columns,
                "rows": [[text(cell) for cell in row] for row in rows],
                "command": thresholds["clinic"]["command"],
            }
    for table in content["studies"].values():
        table["rows"] = [[text(cell) for cell in row] for row in table["rows"]]
    content["sha256"][bundle.DESCRIPTION] = bundle.content_sha256(content)
    (folder / bundle.DESCRIPTION).write_text(json.dumps(content))


def test_a_bundle_of_the_schema_before_is_brought_up_by_a_command_and_keeps_its_figures(copy):
    before = for_clinics_alone(bundle.read(copy))
    figures = {name: rounded(getattr(before, name)) for name in ("metrics", "studies")}
    before = dataclasses.replace(before, **figures)
    bundle_writer.write(copy, before, copy)
    card = (copy / bundle.CARD).read_text()
    as_schema_3(copy)
    with pytest.raises(
        BundleError, match=r"schema version 3.*python -m skin_cancer.model.bundle_writer"
    ):
        bundle.read(copy)
    done = call("model.bundle_writer", str(copy))
    assert done.returncode == 0, done.stderr
    upgraded = bundle.read(copy)
    figures = {name: rounded(getattr(upgraded, name)) for name in ("metrics", "studies")}
    assert dataclasses.replace(upgraded, priors=before.priors, **figures) == before
    for name, prior in before.priors.items():
        assert upgraded.priors[name].shares == pytest.approx(prior.shares)
        assert upgraded.priors[name].source == prior.source
    assert (copy / bundle.CARD).read_text() == card
    again = call("model.bundle_writer", str(copy))
    assert again.returncode == 1
    assert "schema version 4" in again.stderr
    assert bundle.read(copy) == upgraded


def test_nothing_is_added_to_measures_that_are_not_there(copy):
    with pytest.raises(BundleError, match="no measures of ISIC 2018, test"):
        record.illustrate(copy, "ISIC 2018, test", "COMMAND", {}, {})


def test_a_failed_write_keeps_the_old_bundle(copy, tmp_path):
    before = bundle.read(copy)
    with pytest.raises(BundleError, match="cannot be written"):
        bundle_writer.write(copy, before, tmp_path / "no such files")
    assert bundle.read(copy) == before
    assert [path.name for path in copy.parent.iterdir()] == ["bundle"]


def test_a_failed_exchange_brings_the_old_bundle_back(copy, monkeypatch):
    def fail_for_the_new_one(path, target):
        if path.name.endswith(".part"):
            raise OSError("no")
        return rename(path, target)

    before = bundle.read(copy)
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    with pytest.raises(BundleError, match="cannot be written"):
        bundle_writer.write(copy, before, copy)
    assert bundle.read(copy) == before


def test_litert_equals_keras(network, squares, monkeypatch):
    """Up to float16, to which the graph's weights are rounded after normalisation is folded in."""
    logits = network.predict(squares.astype("float32"), verbose=0)
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    classifier = Classifier.load(graph="float")
    monkeypatch.setattr(classifier, "_doubt", None)  # the logits before calibration
    for square, row in zip(squares, expected, strict=True):
        ours = classifier.predict(square, prior="training").probabilities
        assert np.abs(np.array(list(ours.values())) - row).max() < 0.01


def test_maps_equal_grad_cam_by_gradients(network, squares):
    """Selvaraju et al. 2017, "Grad-CAM", equations 1 and 2, on the last feature map."""
    import tensorflow as tf

    trunk = keras.Model(network.inputs[0], network.get_layer("pool").input)
    classifier = Classifier.load(graph="float")
    for square in squares:
        feature_map = trunk(square[None].astype("float32"))
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(feature_map)
            logits = network.get_layer("head")(network.get_layer("pool")(feature_map))
            scores = [logits[0, index] for index in range(logits.shape[1])]
        maps = np.moveaxis(classifier.predict(square).maps, -1, 0)
        for score, ours in zip(scores, maps, strict=True):
            weights = tf.reduce_sum(tape.gradient(score, feature_map), (1, 2))[0]
            grad_cam = tf.tensordot(feature_map[0], weights, 1).numpy()
            assert np.abs(ours - grad_cam).max() < 0.01 * np.abs(maps).max()


def scaled(heatmap):
    return heatmap / max(heatmap.max(), 1e-6)


def test_heatmaps_are_the_scaled_maps_at_the_size_of_the_input(squares):
    prediction = Classifier.load().predict(squares[0])
    size = squares.shape[1]
    for index, heatmap in enumerate(prediction.heatmaps.values()):
        assert heatmap.shape == (size, size)
        assert heatmap.dtype == np.float32
        assert heatmap.min() >= 0
        assert heatmap.max() <= 1
        small = cv2.resize(heatmap, prediction.maps.shape[:2], interpolation=cv2.INTER_AREA)
        expected = scaled(np.maximum(prediction.maps[..., index], 0))
        assert np.abs(small - expected).mean() < 0.1


def test_int8_agrees_with_float(squares):
    graphs = [Classifier.load(graph=name) for name in ("float", "int8")]
    for square in squares:
        ours, theirs = (graph.predict(square).probabilities for graph in graphs)
        assert max(abs(ours[code] - theirs[code]) for code in ours) < 0.2


def poisoned(folder, tmp_path, name, content):
    """A bundle in which someone put another file and wrote the checksums anew."""
    files = shutil.copytree(folder, tmp_path / "files")
    (files / name).write_bytes(content)
    bundle_writer.write(tmp_path / "poisoned", bundle.read(folder), files)
    return tmp_path / "poisoned"


@pytest.mark.parametrize("content", [b"", b"no graph", bytes(10_000)], ids=["empty", "text", "0"])
@pytest.mark.parametrize("name", [bundle.GRAPHS["int8"], bundle.REFERENCE, bundle.KERAS_MODEL])
def test_what_is_no_model_is_refused_though_its_checksum_is_right(tmp_path, name, content):
    folder = poisoned(bundle.DEFAULT_BUNDLE, tmp_path, name, content)
    load = explanation.load_network if name == bundle.KERAS_MODEL else Classifier.load
    with pytest.raises(BundleError, match=name):
        load(folder, **({"graph": "int8"} if name == bundle.GRAPHS["int8"] else {}))


def test_code_in_a_keras_model_is_not_run(tmp_path):
    inputs = keras.Input((8, 8, 3))
    path = str(tmp_path / "stolen")
    steal = keras.layers.Lambda(lambda x: (open(path, "w").close(), x)[1])
    keras.Model(inputs, steal(inputs)).save(tmp_path / "evil.keras")
    os.unlink(path)
    content = (tmp_path / "evil.keras").read_bytes()
    folder = poisoned(bundle.DEFAULT_BUNDLE, tmp_path, bundle.KERAS_MODEL, content)
    with pytest.raises(BundleError, match="unsafe"):
        explanation.load_network(folder)
    assert not os.path.exists(path)


def test_a_pickle_in_the_reference_is_not_unpacked(tmp_path):
    path = tmp_path / "evil.npz"
    with np.load(bundle.DEFAULT_BUNDLE / bundle.REFERENCE) as reference:
        np.savez(path, **{name: np.array([Path("stolen")], object) for name in reference})
    folder = poisoned(bundle.DEFAULT_BUNDLE, tmp_path, bundle.REFERENCE, path.read_bytes())
    with pytest.raises(BundleError, match=r"reference\.npz .*allow_pickle=False"):
        Classifier.load(folder)


def test_nothing_of_a_bundle_is_unpickled():
    code = """
import sys
from skin_cancer import Classifier
from skin_cancer.evaluation import explanation
from skin_cancer.model import bundle
found = []
sys.addaudithook(lambda event, _: found.append(event) if event.startswith("pickle.") else None)
Classifier.load()
explanation.load_network(bundle.DEFAULT_BUNDLE)
assert not found, found
import pickle
pickle.loads(pickle.dumps(bundle.DEFAULT_BUNDLE))
assert found
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_weight_converter_reads_weights_only():
    text = (bundle.MODELS_FOLDER / "imagenet" / "convert.py").read_text()
    assert text.count("torch.load(") == text.count("weights_only=True") == 1
