import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import tiny
from conftest import call
from pictures import encoded, lesion

from skin_cancer import BundleError, Classifier, priors
from skin_cancer.data import dataset, splits
from skin_cancer.diagnoses import ISIC_2018
from skin_cancer.errors import TrainingError
from skin_cancer.evaluation import known
from skin_cancer.images import quality
from skin_cancer.images.lesion import bare_skin
from skin_cancer.images.quality import Square
from skin_cancer.model import bundle, bundle_writer, uncertainty
from skin_cancer.model.classifier import KNOWN
from skin_cancer.model.uncertainty import Doubt
from skin_cancer.training import calibration
from skin_cancer.training.config import PREDICTIONS

EMPTY = {"basis": np.zeros((1, 1)), "cases": np.zeros((0, 64))}
CODES = [diagnosis.code for diagnosis in ISIC_2018]
PRIOR = np.array([0.11, 0.67, 0.05, 0.03, 0.11, 0.01, 0.02])
NAMED = priors.of_training(dict(zip(CODES, PRIOR.tolist(), strict=True)), "HAM10000")


@pytest.fixture(scope="module")
def classifier():
    return Classifier.load()


def drawn_answers(images=20_000, sureness=1.0, seed=0):
    """Draw diagnoses from probabilities, then overstate how sure those are; balanced prior."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(7, images, p=PRIOR)
    logits = rng.normal(0, 1, (images, 7)) + 2.5 * np.eye(7)[truth]  # Bayes: balanced log odds
    natural = 2.5 * logits + np.log(PRIOR)
    return priors.softmax(sureness * natural - np.log(PRIOR)), truth


def fit(probabilities, truth):
    """Fit where each image shows a lesion of its own."""
    table = pd.DataFrame({"diagnosis": np.array(CODES)[truth], "alternative": None})
    return calibration.fit(table.assign(lesion_id=table.index), probabilities, NAMED)


def under_training_prior(probabilities, temperature=1.0):
    return priors.softmax((np.log(probabilities) + np.log(PRIOR)) / temperature)


def mean_surprise(probabilities, truth):
    return -np.log(probabilities[np.arange(len(truth)), truth]).mean()


def test_calibration_takes_back_what_is_too_sure():
    fair, truth = drawn_answers()
    sure, _ = drawn_answers(sureness=2.0)
    temperature = fit(sure, truth)["temperature"]
    assert temperature == pytest.approx(2, abs=0.1)
    expected, raw = mean_surprise(under_training_prior(fair), truth), under_training_prior(sure)
    mended = mean_surprise(under_training_prior(sure, temperature), truth)
    assert mended == pytest.approx(expected, abs=0.005)
    assert mended < mean_surprise(raw, truth) - 0.02


def test_calibrated_answers_stay_as_they_are():
    fair, truth = drawn_answers()
    assert fit(fair, truth)["temperature"] == pytest.approx(1, abs=0.05)


def test_a_temperature_above_one_makes_answers_less_sure():
    known = Doubt({"temperature": 2.0}, EMPTY)
    assert known.calibrated(np.array([2.0, 0.0])).tolist() == [1.0, 0.0]


def sets_of(fitted, probabilities):
    known = Doubt(fitted, EMPTY)
    return [known.set_of(dict(zip(CODES, row, strict=True))) for row in probabilities]


def test_sets_hold_nine_in_ten_of_each_diagnosis():
    fitted = fit(*drawn_answers())
    probabilities, truth = drawn_answers(seed=1)
    natural = under_training_prior(probabilities, fitted["temperature"])
    sets = sets_of(fitted, priors.softmax(np.log(natural / PRIOR)))
    held = np.array([CODES[t] in members for t, members in zip(truth, sets, strict=True)])
    for i in range(7):
        assert held[truth == i].mean() == pytest.approx(0.9, abs=0.05)


def test_a_set_is_never_empty_and_the_most_probable_comes_first():
    fitted = {"sets": {"thresholds": dict.fromkeys(CODES, 0.6)}}
    (members,) = sets_of(fitted, [[0.2, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1]])
    assert members == ("NV",)
    fitted["sets"]["thresholds"]["MEL"] = 0.1
    (members,) = sets_of(fitted, [[0.2, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1]])
    assert members == ("NV", "MEL")


def test_too_few_cases_of_a_diagnosis_make_it_a_member_of_every_set():
    probabilities, truth = drawn_answers(images=300)
    few = np.flatnonzero(truth != 5).tolist() + np.flatnonzero(truth == 5)[:2].tolist()
    fitted = fit(probabilities[few], truth[few])
    assert fitted["sets"]["thresholds"]["DF"] == 0


def test_thresholds_find_the_share_of_malignant_lesions_that_they_promise():
    fitted = fit(*drawn_answers())
    probabilities, truth = drawn_answers(seed=1)
    natural = under_training_prior(probabilities, fitted["temperature"])
    score = natural[:, [0, 2, 3]].sum(axis=1)[np.isin(truth, [0, 2, 3])]
    for row in fitted["thresholds"][priors.CLINIC]:
        assert (score >= row["threshold"]).mean() == pytest.approx(row["sensitivity"], abs=0.02)


def test_a_threshold_finds_what_it_promises_under_each_prior():
    """Weigh new lesions as the prior does: screening has far fewer of the easy kind of cancer."""
    probabilities, truth = drawn_answers()
    fitted = fit(probabilities, truth)
    new, truth = drawn_answers(seed=1)
    natural = under_training_prior(new, fitted["temperature"])
    for name, prior in NAMED.items():
        wanted = np.array(list(prior.shares.values()))
        score = priors.reweighted(natural, NAMED["training"].shares, prior.shares)[:, [0, 2, 3]]
        malignant = np.isin(truth, [0, 2, 3])
        weights = (wanted / np.bincount(truth))[truth][malignant]
        for row in fitted["thresholds"][name]:
            called = score.sum(axis=1)[malignant] >= row["threshold"]
            found = np.average(called, weights=weights)
            assert found == pytest.approx(row["sensitivity"], abs=0.02), name


def test_a_lesion_with_many_images_counts_once():
    probabilities, truth = drawn_answers(images=2000)
    table = pd.DataFrame({"diagnosis": np.array(CODES)[truth], "alternative": None})
    table = table.assign(lesion_id=table.index)
    copies = np.repeat(np.arange(len(table)), np.where(table.index < 20, 30, 1))
    once = calibration.fit(table, probabilities, NAMED)
    often = calibration.fit(table.iloc[copies], probabilities[copies], NAMED)
    assert often["temperature"] == pytest.approx(once["temperature"], abs=1e-4)
    for code, least in once["sets"]["thresholds"].items():
        assert often["sets"]["thresholds"][code] == pytest.approx(least, abs=0.02)


def test_an_image_that_may_show_either_is_right_with_both_and_sets_no_member():
    """Of the melanomas, which are called nevi, it is not known that they are not nevi."""
    probabilities, truth = drawn_answers(images=5000)
    table = pd.DataFrame({"diagnosis": np.array(CODES)[truth], "alternative": None})
    table = table.assign(lesion_id=table.index)
    plain = calibration.fit(table, probabilities, NAMED)
    wrong = probabilities.copy()
    wrong[truth == 0] = wrong[truth == 0][:, [1, 0, 2, 3, 4, 5, 6]]
    unsure = table.assign(alternative=table["diagnosis"].map({"MEL": "NV"}))
    either = calibration.fit(unsure, wrong, NAMED)
    assert either["sets"]["thresholds"]["MEL"] == 0
    assert either["sets"]["thresholds"]["NV"] == pytest.approx(
        plain["sets"]["thresholds"]["NV"], abs=0.05
    )
    assert either["temperature"] < calibration.fit(table, wrong, NAMED)["temperature"] - 0.2


@pytest.fixture(scope="module")
def fitted_bundle(ham10000, tmp_path_factory):
    """A tiny training with a fold left out, its doubt fitted from the shell."""
    output = tmp_path_factory.mktemp("fitted")
    done = tiny.train(f"--data={ham10000}", f"--output={output}", "--fold=0", "--epochs=1")
    assert done.returncode == 0, done.stderr
    arguments = (f"--bundle={output / 'bundle'}", f"--data={ham10000}")
    done = call("training.calibration", *arguments, f"--predictions={output / PREDICTIONS}")
    assert done.returncode == 0, done.stderr
    return output / "bundle"


def test_a_fitted_bundle_knows_its_training_images(fitted_bundle, ham10000):
    fitted = Classifier.load(fitted_bundle)
    table = splits.split(dataset.read(ham10000))
    training = table[~table["fold"].isin([splits.HOLDOUT, 0])]
    found = fitted.predict(training["path"].iloc[0])
    assert found.unfamiliarity < uncertainty.UNFAMILIAR
    assert found.known.image_id == training["image_id"].iloc[0]
    assert found.known.similarity == pytest.approx(1, abs=0.01)
    assert KNOWN in found.warnings
    nearest = found.similar(3)
    assert len({case.lesion_id for case in nearest} - {found.known.lesion_id}) == 3
    assert [c.similarity for c in nearest] == sorted((c.similarity for c in nearest), reverse=True)
    cases = np.load(fitted_bundle / bundle.REFERENCE)
    assert sorted(np.char.decode(cases["image_id"])) == sorted(training["image_id"])
    assert cases["cases"].dtype == np.int8


def test_a_reference_of_an_older_bundle_answers_the_same(fitted_bundle, picture):
    fitted = Classifier.load(fitted_bundle)
    found = fitted.predict(picture)
    with np.load(fitted_bundle / bundle.REFERENCE) as kept:
        older = {name: kept[name] for name in kept}
    older["cases"] = (older["cases"] / uncertainty.STEPS).astype(np.float16)
    for name in ("image_id", "lesion_id", "diagnosis"):
        older[name] = np.char.decode(older[name])
    fitted._doubt = uncertainty.Doubt(fitted.description.doubt, older)
    again = fitted.predict(picture)
    assert again.similar(5) == found.similar(5)
    assert again.unfamiliarity == found.unfamiliarity


def test_how_well_it_knows_them_is_measured_from_the_shell(fitted_bundle, ham10000):
    arguments = (f"--bundle={fitted_bundle}", f"--data={ham10000}", "--part=0")
    done = call("evaluation.known", *arguments)
    assert done.returncode == 0, done.stderr
    shares = dict(re.findall(r"^(\w.*\w) +(\d\.\d{3})$", done.stdout, re.MULTILINE))
    assert float(shares["as it is"]) == 1
    assert len(shares) == len(known.CHANGES)
    assert re.search(r"0: \d+ of \d+ images taken for a training image", done.stdout)


def test_a_bundle_fitted_before_there_were_patterns_knows_no_copies(fitted_bundle, ham10000):
    fitted = Classifier.load(fitted_bundle)
    path = dataset.read(ham10000)["path"].iloc[0]
    with np.load(fitted_bundle / bundle.REFERENCE) as reference:
        kept = {name: reference[name] for name in reference if name != "patterns"}
    fitted._doubt = uncertainty.Doubt(fitted.description.doubt, kept)
    assert fitted.predict(path).known is None
    assert fitted.predict(path).similar(1)[0].similarity == pytest.approx(1, abs=0.01)


def test_a_bundle_without_its_reference_is_refused(fitted_bundle, tmp_path):
    description = bundle.read(fitted_bundle)
    for name in bundle.GRAPHS.values():
        (tmp_path / name).write_bytes((fitted_bundle / name).read_bytes())
    with pytest.raises(BundleError, match="reference"):
        bundle_writer.write(tmp_path / "bundle", description, tmp_path)


def test_a_bundle_without_doubt_still_answers(fitted_bundle, tmp_path, picture):
    plain = dataclasses.replace(bundle.read(fitted_bundle), doubt={})
    bundle_writer.write(tmp_path / "plain", plain, fitted_bundle)
    found = Classifier.load(tmp_path / "plain").predict(picture)
    assert found.prediction_set == ()
    assert found.unfamiliarity is None
    with pytest.raises(BundleError, match="no confirmed cases"):
        found.similar()


def test_predictions_of_other_images_are_refused(fitted_bundle, ham10000, tmp_path):
    other = pd.DataFrame([["X", *PRIOR]], columns=["image_id", *CODES])
    other.to_csv(tmp_path / "other.csv", index=False)
    for path in (tmp_path / "other.csv", tmp_path / "absent.csv"):
        with pytest.raises(TrainingError, match="is no table of image_id and probabilities"):
            calibration.add(fitted_bundle, ham10000, path)


def test_bare_skin_holds_no_lesion():
    image = lesion()
    patches = bare_skin(image)
    assert 1 <= len(patches) <= 4
    assert all(patch.mean() > 150 for patch in patches)
    assert bare_skin(np.zeros_like(image)) == []


def test_the_diagnosis_is_in_the_set_and_the_printed_answer(classifier, picture):
    found = classifier.predict(picture)
    assert found.diagnosis == found.prediction_set[0]
    assert f"nine in ten lesions: {', '.join(found.prediction_set)}" in str(found)


def test_the_set_and_unfamiliarity_do_not_depend_on_the_prior(classifier, picture):
    ours, theirs = (classifier.predict(picture, prior=prior) for prior in ("balanced", "training"))
    assert ours.prediction_set == theirs.prediction_set
    assert ours.unfamiliarity == theirs.unfamiliarity
    assert ours.probabilities != theirs.probabilities


def test_similar_cases_are_confirmed_lesions(classifier, picture):
    cases = classifier.predict(picture).similar(5)
    assert len(cases) == 5
    assert all(case.image_id.startswith("ISIC_") for case in cases)
    assert all(case.diagnosis in CODES and -1 <= case.similarity <= 1 for case in cases)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        (lesion(90, 90), "small"),
        (np.full((300, 300, 3), 20, np.uint8), "dark"),
        (np.full((300, 300, 3), 254, np.uint8), "bright"),
        (np.full((300, 300, 3), 150, np.uint8), "blurred"),
        (np.full((300, 300, 3), 150, np.uint8), "no lesion"),
    ],
)
def test_what_is_wrong_with_a_picture_is_said_in_words(classifier, image, name):
    assert name in quality.check(Square.of(image))
    prediction = classifier.predict(encoded(image, ".png"))
    assert quality.check(Square.of(image))[name] in prediction.warnings
    assert f"warning: {quality.check(Square.of(image))[name]}" in str(prediction)


def test_a_good_picture_has_nothing_wrong():
    assert quality.check(Square.of(lesion())) == {}
