import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import golden
import numpy as np
import pytest
from pictures import encoded, lesion

from skin_cancer import Classifier, ImageError, SkinCancerError, priors

CODES = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC", "SCC"]


@pytest.fixture(scope="module")
def classifier():
    return Classifier.load()


def test_path_bytes_and_array_give_the_same(classifier, tmp_path):
    data = encoded(lesion(), ".png")
    path = tmp_path / "lesion.png"
    path.write_bytes(data)
    answers = [classifier.predict(i).probabilities for i in (path, str(path), data, lesion())]
    assert all(answer == answers[0] for answer in answers)


def test_prediction(classifier, picture):
    prediction = classifier.predict(picture)
    chances = prediction.probabilities
    assert list(chances) == CODES
    assert sum(chances.values()) == pytest.approx(1)
    assert chances[prediction.diagnosis] == max(chances.values())
    assert prediction.malignancy == pytest.approx(
        chances["MEL"] + chances["BCC"] + chances["AKIEC"] + chances["SCC"]
    )
    assert list(prediction.heatmaps) == CODES
    assert prediction.error is None


def test_printed_prediction_can_be_read(classifier, picture):
    text = str(classifier.predict(picture))
    assert "probability" in text
    assert "malignant or precancerous (MEL, BCC, AKIEC, SCC)" in text
    assert "prior clinic: MEL 8%" in text
    assert all(code in text for code in CODES)
    assert "not a medical device" in text


def test_priors_reweight_exactly(classifier, picture):
    """Bayes: the odds under two priors differ by the odds of the priors."""
    share = classifier.description.prior
    balanced = classifier.predict(picture, prior="balanced").probabilities
    training = classifier.predict(picture, prior="training").probabilities
    product = {code: balanced[code] * share[code] for code in CODES}
    expected = {code: product[code] / sum(product.values()) for code in CODES}
    assert training == pytest.approx(expected)
    assert classifier.predict(picture, prior=share).probabilities == pytest.approx(training)
    weights = dict.fromkeys(CODES, 7.0)
    assert classifier.predict(picture, prior=weights).probabilities == pytest.approx(balanced)


@pytest.mark.parametrize(
    "prior",
    [
        *("flat", 1, np.ones(8), {"MEL": 1}),
        *(dict.fromkeys(CODES, weight) for weight in (0, -1, float("nan"), float("inf"), "1")),
    ],
)
def test_impossible_priors(classifier, picture, prior):
    with pytest.raises(ValueError, match="prior"):
        classifier.predict(picture, prior=prior)


def test_a_threshold_holds_for_the_prior_that_it_was_fitted_for_and_for_no_other(
    classifier, picture
):
    clinic = classifier.predict(picture)
    for prior in priors.NAMES:
        under = classifier.under(clinic, prior)
        for sensitivity, threshold in classifier.description.thresholds(prior).items():
            verdict = under.verdict(sensitivity)
            assert verdict.suspicious == (under.malignancy >= threshold)
            assert (verdict.malignancy, verdict.threshold) == (under.malignancy, threshold)
        again = classifier.under(under, "clinic").verdict()
        assert again.suspicious == clinic.verdict().suspicious
    verdict = classifier.under(clinic, dict(clinic.prior)).verdict()
    assert verdict.suspicious is verdict.threshold is None
    assert verdict.words == "no threshold for this prior"


def test_a_sensitivity_without_a_threshold_is_refused(classifier, picture):
    with pytest.raises(ValueError, match=r"No threshold for sensitivity=0.5; there are 0.9, 0.95"):
        classifier.predict(picture).verdict(0.5)


@pytest.mark.parametrize("views", [0, 9, 2.5])
def test_impossible_views(classifier, picture, views):
    with pytest.raises(ValueError, match="1 to 8"):
        classifier.predict(picture, views=views)


def test_views_are_the_mean_of_turned_mirrored_and_zoomed_pictures(classifier, monkeypatch):
    monkeypatch.setattr(classifier, "_doubt", None)  # the logits before calibration
    image = lesion(300, 300)
    image[:80, :40] = (250, 20, 20)
    views = [image, np.rot90(image[15:285, 15:285]), np.rot90(image[30:270, 30:270], 2)]
    alone = [classifier.predict(np.ascontiguousarray(view)) for view in views]
    logits = np.mean([np.log(list(view.probabilities.values())) for view in alone], axis=0)
    expected = np.exp(logits) / np.exp(logits).sum()
    together = classifier.predict(image, views=3)
    assert list(together.probabilities.values()) == pytest.approx(expected, abs=1e-4)
    assert np.allclose(together.maps, alone[0].maps, atol=1e-4)


def test_eight_views_depend_less_on_how_the_picture_lies(classifier):
    image = lesion(300, 300)
    image[:80, :40] = (250, 20, 20)
    turned = [np.ascontiguousarray(np.rot90(image, i)) for i in range(4)]

    def spread(views):
        found = [list(classifier.predict(one, views).probabilities.values()) for one in turned]
        return np.std(found, axis=0).sum()

    assert spread(8) < spread(1) / 2


def test_predict_many_goes_on_after_a_bad_image(classifier, picture, tmp_path):
    images = [picture, b"no picture", tmp_path / "absent.jpg", "nul\0.jpg", lesion()]
    good, text, absent, nul, last = classifier.predict_many(iter(images))
    assert good.probabilities == classifier.predict(picture).probabilities
    assert last.diagnosis in CODES
    assert "cannot be read as an image" in text.error
    assert "cannot be opened" in absent.error
    assert "cannot be opened" in nul.error
    assert text.probabilities == {}
    assert text.heatmaps == {}
    assert "No prediction" in str(text)
    with pytest.raises(ImageError):
        _ = text.diagnosis
    with pytest.raises(ImageError):
        _ = text.malignancy


@pytest.mark.parametrize("image", [None, 3, np.zeros((64, 64), int), np.ones((64, 64, 5))])
def test_what_is_no_image(classifier, image):
    with pytest.raises(ImageError, match=r"came.*An image is a path"):
        classifier.predict(image)


def test_small_array(classifier):
    with pytest.raises(ImageError, match="8 x 8"):
        classifier.predict(np.zeros((8, 8, 3), np.uint8))


def test_absent_bundle(tmp_path):
    with pytest.raises(SkinCancerError, match="There is no model bundle"):
        Classifier.load(tmp_path)


def test_unknown_graph():
    with pytest.raises(ValueError, match="float, int8"):
        Classifier.load(graph="float64")


def test_app_and_classifier_load_no_heavy_library():
    code = (
        "import sys, skin_cancer.app.page; from skin_cancer import Classifier; Classifier.load();"
        "heavy = {'tensorflow', 'keras', 'pandas', 'sklearn', 'matplotlib'};"
        "heavy.add('skin_cancer.model.card');"
        "heavy &= set(sys.modules);"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_prediction_is_one_line_of_the_log_that_names_no_file(classifier, tmp_path, caplog):
    path = tmp_path / "private name.png"
    path.write_bytes(encoded(lesion(300, 225), ".png"))
    with caplog.at_level("INFO", "skin_cancer"):
        classifier.predict(path)
    [record] = caplog.records
    assert "isic_lite0: 300 x 225 pixels" in record.message
    assert "private" not in caplog.text


@pytest.mark.stress
def test_the_same_picture_gets_the_same_answer_to_the_last_bit(classifier, picture, stress, tally):
    first = classifier.predict(picture)
    for _ in range(1_000 if stress else 100):
        with tally("predictions repeated"):
            assert same(classifier.predict(picture), first)


@pytest.mark.stress
def test_several_threads_may_share_a_classifier(classifier, stress, tally):
    pictures = [lesion(300, 225, seed=seed) for seed in range(8)]
    alone = [classifier.predict(picture) for picture in pictures]
    order = np.random.default_rng(0).integers(len(pictures), size=1_000 if stress else 100)
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda number: classifier.predict(pictures[number]), order)
        for number, prediction in zip(order, found, strict=True):
            with tally("predictions by eight threads at once"):
                assert same(prediction, alone[number])


@pytest.mark.stress
def test_the_number_of_threads_of_the_network_changes_nothing(picture):
    one, two = (Classifier.load(threads=threads).predict(picture) for threads in (1, 2))
    assert same(one, two)


def same(ours, theirs):
    return (
        ours.probabilities == theirs.probabilities
        and ours.unfamiliarity == theirs.unfamiliarity
        and ours.prediction_set == theirs.prediction_set
        and np.array_equal(ours.maps, theirs.maps)
    )


@pytest.mark.parametrize(("graph", "tolerance"), [("float", 0.005), ("int8", 0.05)])
def test_the_shipped_bundle_answers_as_it_did_elsewhere(graph, tolerance):
    """Machines may round differently; tests/golden.py says where the file comes from."""
    expected = json.loads(golden.PATH.read_text())[graph]
    found = golden.answers(graph)
    assert found.keys() == expected.keys()
    for code, answer in found.items():
        assert answer == pytest.approx(expected[code], abs=tolerance), code
