"""A user's keras.json changes nothing; each process here has a KERAS_HOME of its own."""

import ast
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

# Train and explain the first stage of EfficientNet-Lite, and keep what comes of it.
SCRIPT = """
import sys

import numpy as np

from skin_cancer.training import network
from skin_cancer.training.config import TrainingConfig
from skin_cancer.training.train import keras, train

network.LITE_STAGES = network.LITE_STAGES[:1]
sizes = {"image_size": 32, "first_image_size": 32, "batch_size": 8, "views": 16, "epochs": 1}
data, output = sys.argv[1:]
config = TrainingConfig(data, output, start_weights="random", **sizes)
model, _, _ = train(config)
assert {variable.dtype for variable in model.weights} == {"float32"}
found = model.get_weights()
if keras.backend.backend() == "tensorflow":
    from skin_cancer.evaluation import explanation

    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    found += [explanation.explain(model, image, 0, method) for method in explanation.METHODS]
np.savez(f"{output}/found.npz", *found)
print(keras.backend.backend())
"""
OTHER = {"image_data_format": "channels_first", "floatx": "float16"}


def python(code, home, settings, *arguments, **environment):
    """Run code where the user has such a keras.json, and return the finished process."""
    home.mkdir()
    (home / "keras.json").write_text(json.dumps(settings))
    inherited = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**inherited, "KERAS_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def trained(folder, data, settings, **environment):
    """Return the backend of SCRIPT, and the weights and heatmaps that it gives."""
    done = python(SCRIPT, folder / "home", settings, data, folder / "run", **environment)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "run" / "found.npz") as file:
        return done.stdout.split()[-1], list(file.values())


@pytest.fixture(scope="module")
def undisturbed(ham10000, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("undisturbed"), ham10000, {})


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_users_settings_do_not_reach_training_and_heatmaps(
    ham10000, tmp_path, undisturbed, backend
):
    name, found = trained(tmp_path, ham10000, {**OTHER, "backend": backend})
    expected_name, expected = undisturbed
    assert name == expected_name == "tensorflow"
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_machine_with_jax_alone_trains(ham10000, tmp_path, undisturbed):
    (tmp_path / "tensorflow.py").write_text("raise ImportError")
    environment = {"KERAS_BACKEND": "jax", "PYTHONPATH": str(tmp_path)}
    settings = {**OTHER, "backend": "tensorflow"}
    name, weights = trained(tmp_path, ham10000, settings, **environment)
    assert name == "jax"
    expected = undisturbed[1][: len(weights)]
    assert [weight.shape for weight in weights] == [weight.shape for weight in expected]


USED = """
import keras

keras.layers.Dense(1).build((None, 1))
from skin_cancer.training import network

print(network.build_network("MobileNet", 7, None).get_layer("conv1").kernel.dtype)
"""


def test_settings_hold_where_keras_was_used_before(tmp_path):
    done = python(USED, tmp_path / "home", {**OTHER, "backend": "tensorflow"})
    assert done.stdout.split() == ["float32"], done.stderr


def test_another_backend_that_was_loaded_before_is_refused(tmp_path):
    done = python(USED, tmp_path / "home", {"backend": "jax"})
    assert done.returncode != 0
    assert "ImportError: Keras was imported before" in done.stderr
    assert "jax. Import skin_cancer.training first, or set KERAS_BACKEND" in done.stderr


def imports(code):
    """Yield the names of the packages that Python code imports."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def test_keras_is_imported_in_one_place():
    code = {path.name: path.read_text() for path in (ROOT / "skin_cancer").rglob("*.py")}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        code[path.name] = "\n".join(sources)
    assert [name for name, text in code.items() if "keras" in imports(text)] == [
        "keras_settings.py"
    ]
