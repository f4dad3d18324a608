"""From a user's own labelled images to the page, by the notebooks and as README says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, call
from executed import FEW_RESAMPLES, ONE_STAGE, SMALL, run
from server import Server

from skin_cancer import Classifier, priors
from skin_cancer.app.page import Page
from skin_cancer.data import dataset, examples
from skin_cancer.model import bundle
from skin_cancer.model.classifier import NO_MALIGNANT

OWN = {"diagnoses": "wart,Merkel cell carcinoma", "malignant": "Merkel cell carcinoma"}


def keep(folder, sample, names):
    """Copy drawings into folders named after their diagnoses, with a table of their lesions."""
    drawn = dataset.read(sample)
    drawn = drawn[drawn["diagnosis"].isin(names)]
    for row in drawn.itertuples():
        place = folder / names[row.diagnosis] / f"my {row.image_id}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(row.path, place)
    ids = {"file": "my " + drawn["image_id"] + ".jpg", "lesion": drawn["lesion_id"]}
    pd.DataFrame(ids).rename(columns={"file": "filename"}).to_csv(
        folder / "lesions.csv", index=False, sep=";"
    )
    return drawn


@pytest.fixture(scope="module")
def own(tmp_path_factory, sample):
    """A folder with nevi, warts and Merkel cell carcinomas, and the real examples; its bundle."""
    folder = tmp_path_factory.mktemp("images")
    drawn = keep(folder, sample, {"NV": "Naevus", "BKL": "wart", "MEL": "Merkel cell carcinoma"})
    real = [each for each in examples.read() if each.diagnosis == "NV"]
    table = pd.read_csv(folder / "lesions.csv", sep=";")
    for each in real:
        shutil.copy(each.path, folder / "Naevus")
        table.loc[len(table)] = [each.path.name, each.image_id]
    table.to_csv(folder / "lesions.csv", index=False)
    output = tmp_path_factory.mktemp("own")
    run("training", output, ONE_STAGE, **SMALL, **OWN, data=str(folder))
    return folder, output, drawn, real


def test_a_network_of_own_diagnoses_names_them_on_the_page(own, picture):
    _, output, _, _ = own
    classifier = Classifier.load(output / "bundle")
    assert classifier.description.diagnoses == ("NV", "wart", "Merkel cell carcinoma")
    found = classifier.predict(picture)
    assert found.malignancy == found.probabilities["Merkel cell carcinoma"]
    assert found.verdict().threshold is not None
    offered = {name for _, name in Page(classifier).prevalence.options}
    assert offered == {priors.CLINIC, priors.BALANCED}


def test_the_real_examples_are_read_but_never_learnt(own):
    folder, output, drawn, real = own
    came = bundle.read(output / "bundle").training["provenance"]
    assert came["divided_by"] == {"own images": "lesion"}
    assert came["images"] < len(drawn)
    assert came["images_apart"]["own images, -2"] == len(real)
    table = pd.read_csv(folder / "lesions.csv")
    assert len(table) == len(drawn) + len(real)


def test_what_training_accepts_evaluation_measures(own, tmp_path):
    folder, output, _, _ = own
    given = {"bundle": str(output / "bundle"), "data": str(folder), "part": "holdout"}
    run("evaluation", tmp_path, FEW_RESAMPLES, **given, distorted=2)
    done = call("evaluation.evaluate", f"--bundle={output / 'bundle'}", f"--data={folder}")
    assert done.returncode == 0, done.stderr
    assert "balanced accuracy" in done.stdout


def test_without_a_malignant_diagnosis_there_is_no_verdict(tmp_path, sample, picture):
    keep(tmp_path / "in", sample, {"NV": "nevus", "BKL": "seborrheic keratosis"})
    out = tmp_path / "out"
    out.mkdir()
    run("training", out, ONE_STAGE, **SMALL, data=str(tmp_path / "in"))
    classifier = Classifier.load(out / "bundle")
    found = classifier.predict(picture)
    assert found.verdict().words == NO_MALIGNANT
    assert found.verdict().percents == ("", "")
    assert NO_MALIGNANT in str(found)
    assert classifier.description.thresholds(priors.CLINIC) == {}
    given = {"bundle": str(out / "bundle"), "data": str(tmp_path / "in"), "part": "holdout"}
    run("evaluation", tmp_path, FEW_RESAMPLES, **given, distorted=2)


@pytest.mark.slow
def test_readmes_three_lines_go_from_a_folder_to_the_page(tmp_path, sample):
    keep(tmp_path / "my_images", sample, {"NV": "nevus", "MEL": "melanoma"})
    text = (ROOT / "README.md").read_text()
    lines = re.search(r"to the page:\n\n```sh\n(.+?)```", text, re.DOTALL).group(1)
    lines = lines.replace("my_images", str(tmp_path / "my_images"))
    lines = lines.replace("runs/mine", str(tmp_path / "mine"))
    check, training, app = lines.replace(".venv/bin", str(Path(sys.executable).parent)).splitlines()
    for line in (f"{check} --output={tmp_path / 'check'}", training):
        subprocess.run(line.split(), cwd=ROOT, check=True)
    made = app.removeprefix("make app BUNDLE=")
    server = Server(tmp_path, f"--bundle={made}")
    try:
        assert server.address.startswith("http://localhost:")
    finally:
        server.process.terminate()
