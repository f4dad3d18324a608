"""Notebooks run by papermill, small and quick."""

import papermill
import pytest
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SMALL = {"image_size": 64, "first_image_size": 64, "epochs": 1, "seed": 5}
SMALL["start_weights"] = "random"
# What a kernel runs before the notebook.
ONE_STAGE = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
import tiny
tiny.shrink()
"""
FEW_RESAMPLES = """
from skin_cancer.evaluation import metrics
metrics.RESAMPLES = 200
"""


def run(name, folder, before="", **parameters):
    """Run a notebook by papermill, code before it, and return the folder that it wrote to."""
    (source,) = (path for path in NOTEBOOKS if path.stem.endswith(name))
    startup = folder / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    (startup / "before.py").write_text(before)
    target = folder / source.name
    parameters = {**parameters, "output": str(folder)}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("IPYTHONDIR", str(folder / "ipython"))
        papermill.execute_notebook(source, target, parameters, progress_bar=False)
    return folder


def train(folder):
    return run("training", folder, ONE_STAGE, **SMALL)
