import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from skin_cancer import Classifier, priors
from skin_cancer.data import dataset, levelling, splits
from skin_cancer.errors import BundleError, DatasetError
from skin_cancer.evaluation import (
    confidence,
    evaluate,
    labels,
    metrics,
    out_of_distribution,
    record,
)
from skin_cancer.evaluation.distortions import DISTORTIONS
from skin_cancer.evaluation.evaluate import choose_part
from skin_cancer.evaluation.metrics import measure
from skin_cancer.model import bundle, card
from skin_cancer.model.uncertainty import Case

CODES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 200)


def answers(lesions=20, right=0.7, seed=0):
    """Lesions of every diagnosis, one image each, and a guess that is often right."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(7), lesions)
    table = pd.DataFrame({"diagnosis": np.array(CODES)[truth]})
    table["lesion_id"] = [f"L{i}" for i in range(len(table))]
    table["image_id"] = [f"I{i}" for i in range(len(table))]
    table = table.assign(archive="HAM10000", apart=None)
    scores = rng.random((len(truth), 7))
    scores[np.arange(len(truth)), truth] += np.where(rng.random(len(truth)) < right, 1, 0)
    return table, scores / scores.sum(axis=1, keepdims=True), truth


def balanced(measured):
    return measured["measures"]["balanced accuracy"]


def test_values_are_those_of_scikit_learn():
    table, probabilities, truth = answers()
    measured = measure(table, probabilities, CODES)
    expected = balanced_accuracy_score(truth, probabilities.argmax(axis=1))
    assert balanced(measured)["value"] == pytest.approx(expected)
    area = measured["measures"]["ROC AUC, melanoma against all others"]["value"]
    assert area == pytest.approx(roc_auc_score(truth == 0, probabilities[:, 0]))
    matrix = np.array([list(row.values()) for row in measured["confusion"].values()])
    assert matrix.sum(axis=1).tolist() == [20] * 7
    assert measured["classes"]["BKL"]["recall"]["value"] == matrix[4, 4] / 20


def test_perfect_answers():
    table, _, truth = answers()
    measured = measure(table, np.eye(7)[truth], CODES)
    assert balanced(measured) == {"value": 1, "low": 1, "high": 1}


def test_interval_covers_the_truth_as_often_as_it_says():
    """Nominally 95 %; the value on many lesions stands for the true one."""
    true_value = metrics.mean_recall(*answers(lesions=1000)[:2], CODES)["value"]
    covered = 0
    for seed in range(30):
        found = metrics.mean_recall(*answers(lesions=40, seed=seed)[:2], CODES)
        covered += found["low"] <= true_value <= found["high"]
    assert covered >= 25


def test_either_of_two_diagnoses_is_right():
    table, probabilities, _ = answers()
    plain = measure(table, probabilities, CODES)
    other = np.array(CODES)[probabilities.argmax(axis=1)]
    wrong = (table["diagnosis"] == "DF") & (other != table["diagnosis"])
    lenient = table.assign(alternative=pd.Series(other, table.index).where(wrong))
    found = measure(lenient, probabilities, CODES)
    assert (
        found["classes"]["DF"]["recall"]["value"] == 1 > plain["classes"]["DF"]["recall"]["value"]
    )
    assert found["classes"]["NV"]["recall"] == plain["classes"]["NV"]["recall"]


def test_more_images_of_the_same_lesions_make_no_interval_narrower():
    table, probabilities, _ = answers()
    once = balanced(measure(table, probabilities, CODES))
    often = balanced(measure(pd.concat([table] * 5), np.tile(probabilities, (5, 1)), CODES))
    assert often == pytest.approx(once)


def test_a_diagnosis_without_images():
    table, probabilities, _ = answers()
    rows = (table["diagnosis"] != "DF").to_numpy()
    with pytest.raises(DatasetError, match="No image of DF"):
        measure(table[rows], probabilities[rows], CODES)


def trained_on(table, fold):
    rows = table[~table["fold"].isin([splits.HOLDOUT, fold])]
    labels = dataset.label_fingerprint(rows)
    return {"recipe": {"fold": fold}, "provenance": {"labels_sha256": labels}}


def test_parts_are_those_that_the_network_has_not_seen():
    table = splits.split(answers()[0])
    assert set(choose_part(table, "holdout", trained_on(table, None))["fold"]) == {-1}
    assert set(choose_part(table, "2", trained_on(table, 2))["fold"]) == {2}
    with pytest.raises(DatasetError, match="only be measured on test or holdout or 2"):
        choose_part(table, "1", trained_on(table, 2))
    with pytest.raises(DatasetError, match="only be measured on test or holdout"):
        choose_part(table, "1", trained_on(table, None))
    everything = {"recipe": {"fold": None, "holdout": "included"}}
    with pytest.raises(DatasetError, match=r"only be measured on test\. It has seen all others"):
        choose_part(table, "holdout", everything)


def test_other_labels_are_refused_since_the_split_would_differ():
    table, _, _ = answers()
    training = trained_on(splits.split(table), None)
    with pytest.raises(DatasetError, match="not those that the model was trained with"):
        choose_part(splits.split(table.iloc[1:]), "holdout", training)


def test_measures_can_be_stored_and_shown():
    measured = measure(*answers()[:2], CODES)
    extra = {"graph": "float", "views": 1, "command": "COMMAND"}
    text = card.result("TITLE", {**json.loads(json.dumps(measured)), **extra})
    assert text.startswith("### TITLE")
    assert f"{balanced(measured)['value']:.3f}" in text
    assert text.count("| **") == 7


def test_calibration_error_of_answers_that_are_as_sure_as_right():
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 20_000)
    truth = (rng.random(20_000) > sure).astype(int)
    probabilities = np.stack([sure, 1 - sure], axis=1)
    bins = confidence.reliability(truth, probabilities)
    assert bins["images"].sum() == 20_000
    assert confidence.calibration_error(bins) < 0.02
    too_sure = confidence.reliability(truth, np.round(probabilities))
    assert confidence.calibration_error(too_sure) == pytest.approx(0.25, abs=0.02)


def test_thresholds_are_measured_on_other_images():
    table, probabilities, _ = answers(lesions=60)
    score, malignant = labels.malignancy(probabilities, CODES), labels.malignant_of(table)
    given = [{"sensitivity": 0.9, "threshold": 0.4}, {"sensitivity": 0.95, "threshold": 0.3}]
    points = metrics.at_thresholds(table, score, given)
    assert points.index.tolist() == [0.9, 0.95]
    for row in points.itertuples(index=False):
        called = score >= row.threshold
        assert row.sensitivity == pytest.approx(called[malignant].mean())
        assert row.specificity == pytest.approx(1 - called[~malignant].mean())
    first = points.iloc[0]
    assert first["sensitivity, low"] < first["sensitivity"] < first["sensitivity, high"]
    assert first["missed of 100 at 10%"] == pytest.approx(10 * (1 - first["sensitivity"]))
    assert first["false alarms of 100 at 10%"] == pytest.approx(90 * (1 - first["specificity"]))


def test_the_thresholds_of_each_prior_are_measured_under_it():
    table, probabilities, _ = answers(lesions=60)
    shares = {code: 0.9 if code == "NV" else 0.1 / (len(CODES) - 1) for code in CODES}
    named = {"balanced": priors.balanced(CODES), "mostly nevi": shares}
    description = SimpleNamespace(
        name="",
        diagnoses=CODES,
        named_prior=lambda name: priors.Prior(named[name], ""),
        doubt={"thresholds": {name: [{"sensitivity": 0.9, "threshold": 0.2}] for name in named}},
    )
    found = evaluate.at_thresholds(description, table, probabilities)
    malignant = labels.malignant_of(table)
    for name, prior in named.items():
        expected = priors.reweighted(probabilities, priors.balanced(CODES), prior)
        called = labels.malignancy(expected, CODES) >= 0.2
        assert found[name].loc[0.9, "sensitivity"] == pytest.approx(called[malignant].mean())
    assert found["mostly nevi"].loc[0.9, "sensitivity"] < found["balanced"].loc[0.9, "sensitivity"]


def test_perfectly_calibrated_answers_are_at_their_floor_and_too_sure_ones_above(monkeypatch):
    monkeypatch.setattr(confidence, "SIMULATIONS", 50)
    rng = np.random.default_rng(0)
    prior = {"MEL": 0.6, "NV": 0.3, "BCC": 0.1}
    truth = rng.choice(3, 4000, p=list(prior.values()))
    logits = rng.normal(0, 1, (4000, 3)) + 1.5 * np.eye(3)[truth]
    natural = 1.5 * logits + np.log(list(prior.values()))
    fair, sure = (priors.softmax(k * natural) for k in (1, 2))
    balanced_answers = (priors.reweighted(p, prior, priors.balanced(prior)) for p in (fair, sure))
    table = pd.DataFrame({"diagnosis": np.array(["MEL", "NV", "BCC"])[truth]})
    assumed = {"own": prior, "balanced": priors.balanced(prior)}
    found, worse = (confidence.calibration(table, p, assumed) for p in balanced_answers)
    assert found.index.tolist() == ["own", "balanced"]
    assert (found["expected calibration error"] < 1.5 * found["floor, 95 %"]).all()
    assert found["slope"].to_numpy() == pytest.approx(1, abs=0.1)
    assert found["intercept"].to_numpy() == pytest.approx(0, abs=0.1)
    assert (worse["expected calibration error"] > 2 * worse["floor, 95 %"]).all()
    assert worse["slope"].to_numpy() == pytest.approx(0.5, abs=0.05)


def test_calibration_is_measured_where_a_diagnosis_does_not_occur(monkeypatch):
    monkeypatch.setattr(confidence, "SIMULATIONS", 20)
    rng = np.random.default_rng(0)
    prior = {"MEL": 0.5, "NV": 0.3, "BCC": 0.19, "VASC": 0.01}
    truth = rng.choice(3, 2000, p=np.array([0.5, 0.3, 0.2]))
    answers_given = priors.softmax(rng.normal(0, 1, (2000, 4)) + 1.5 * np.eye(4)[truth])
    table = pd.DataFrame({"diagnosis": np.array(["MEL", "NV", "BCC"])[truth]})
    found = confidence.calibration(table, answers_given, {"own": prior})
    assert np.isfinite(found.to_numpy()).all()


EIGHT = (*CODES, "SCC")


def test_an_archive_without_squamous_cell_carcinoma_counts_it_as_akiec():
    """Each image says SCC 0.4, AKIEC 0.2 and melanoma 0.3: together the first two are most."""
    table, _, _ = answers()
    said = np.tile([0.3, 0.1, 0, 0.2, 0, 0, 0, 0.4], (len(table), 1))
    assert set(labels.answers_of(table, said, EIGHT)) == {EIGHT.index("AKIEC")}
    measured = measure(table, said, EIGHT)
    assert list(measured["classes"]) == list(CODES)
    assert measured["classes"]["AKIEC"]["recall"]["value"] == 1
    elsewhere = table.assign(archive="MILK10k")
    assert set(labels.answers_of(elsewhere, said, EIGHT)) == {EIGHT.index("SCC")}
    with pytest.raises(DatasetError, match="No image of SCC"):
        measure(elsewhere, said, EIGHT)


def test_either_of_two_diagnoses_is_right_if_the_label_may_mean_both():
    table = pd.DataFrame({"diagnosis": ["SCC", "SCC", "NV"], "lesion_id": [*"abc"]})
    table = table.assign(archive="ISIC 2019", alternative=["AKIEC", None, None])
    said = np.eye(8)[[3, 3, 3]]
    assert labels.answers_of(table, said, EIGHT).tolist() == [7, 3, 3]
    assert labels.as_right(table, said, EIGHT).tolist() == [3, 7, 1]


def test_rare_diagnoses_are_left_out_of_a_second_balanced_accuracy():
    table, probabilities, _ = answers(lesions=20)
    few = (table["diagnosis"] != "DF") | (table.groupby("diagnosis").cumcount() < 5)
    measured = measure(table[few], probabilities[few], CODES)["measures"]
    rows = (table["diagnosis"] != "DF").to_numpy()
    expected = metrics.mean_recall(table[rows], probabilities[rows], CODES)["value"]
    frequent = measured["balanced accuracy, diagnoses of 20 lesions or more"]["value"]
    assert frequent == pytest.approx(expected)
    assert len(measure(table, probabilities, CODES)["measures"]) == len(measured) - 1


def test_lesions_are_weighed_as_a_prior_says():
    table, _, _ = answers(lesions=20)
    prior = dict(zip(CODES, (0.1, 0.6, 0.05, 0.05, 0.1, 0.05, 0.05), strict=True))
    weights = pd.Series(confidence.prior_weights(table, prior)).groupby(table["diagnosis"]).sum()
    assert (weights / weights.sum())[list(CODES)].to_dict() == pytest.approx(prior)


def test_each_archive_is_measured_by_itself(monkeypatch):
    """Of two archives, one of which knows no SCC, from one list of answers."""
    here, said, _ = answers()
    there = here.assign(archive="MILK10k", lesion_id=here["lesion_id"] + "m")
    there.loc[there["diagnosis"] == "VASC", "diagnosis"] = "SCC"
    there.loc[there.index[:5], "diagnosis"] = "VASC"
    table = pd.concat([here, there])
    eight = np.hstack([said, 0.5 * said[:, :1]])
    found = {"HAM10000": eight, "MILK10k": eight[::-1]}
    description = dataclasses.replace(
        bundle.read(bundle.DEFAULT_BUNDLE),
        diagnoses=EIGHT,
        priors=priors.of_training(dict.fromkeys(EIGHT, 1), "HAM10000, MILK10k"),
    )
    loaded = SimpleNamespace(description=description)
    monkeypatch.setattr(evaluate.Classifier, "load", lambda *_: loaded)
    monkeypatch.setattr(evaluate, "read_part", lambda *_: table)
    monkeypatch.setattr(
        evaluate, "predict_table", lambda _, part, *__: found[part["archive"].iloc[0]]
    )
    measured = evaluate.evaluate("BUNDLE", "DATA")
    assert [one["title"] for one in measured] == ["HAM10000, holdout", "MILK10k, holdout"]
    assert [len(one["classes"]) for one in measured] == [7, 8]
    assert balanced(measured[1]) == balanced(measure(there, eight[::-1], EIGHT))


def test_the_control_of_sharpness_finds_a_network_that_reads_the_size(monkeypatch):
    rows = [
        (code, apart, fold)
        for code, apart, fold in [
            ("NV", True, -2),
            ("NV", False, -1),
            ("MEL", True, -2),
            ("MEL", False, -1),
        ]
        for _ in range(10)
    ]
    table = pd.DataFrame(rows, columns=["diagnosis", "control", "fold"])
    table = table.assign(dataset=levelling.BCN)
    table["apart"] = table["control"].map({True: levelling.CONTROL})
    sharp = table["control"] ^ (table["diagnosis"] == "MEL")

    def reads_the_size(_, part):
        return np.where(sharp[part.index].to_numpy()[:, None], [0.8, 0.2], [0.2, 0.8])

    def reads_the_lesion(_, part):
        return np.where((part["diagnosis"] == "MEL").to_numpy()[:, None], [0.8, 0.2], [0.2, 0.8])

    loaded = SimpleNamespace(description=SimpleNamespace(diagnoses=("MEL", "NV")))
    monkeypatch.setattr(evaluate, "predict_table", reads_the_size)
    found = evaluate.control(loaded, table)
    assert found.loc["no melanoma"].tolist() == [10, 1, 0, 1]
    assert found.loc["melanoma"].tolist() == [10, 0, 1, 0]
    monkeypatch.setattr(evaluate, "predict_table", reads_the_lesion)
    assert evaluate.control(loaded, table)["ROC AUC"].tolist() == [0.5, 0.5]
    assert evaluate.control(loaded, table.assign(apart=None)).empty


def test_coverage_counts_lesions_of_each_diagnosis_and_hides_no_rare_one():
    table = pd.DataFrame({"diagnosis": ["NV"] * 8 + ["DF"] * 2, "lesion_id": list("aabbccddef")})
    sets = [("NV",)] * 6 + [("MEL", "DF")] * 2 + [("DF",), ("NV", "DF")]
    found = metrics.coverage(table, sets, CODES)
    assert found.index.tolist() == ["NV", "DF", "all"]
    assert found["coverage"].tolist() == pytest.approx([0.75, 1.0, 0.8])
    assert found["lesions"].tolist() == [4, 2, 6]
    assert found["set size"].tolist() == pytest.approx([1.25, 1.5, 1.3])
    assert found.loc["DF", "low"] < 0.6  # two lesions prove little
    assert found.loc["DF", "high"] == pytest.approx(1)


def test_unfamiliar_pictures_are_told_from_held_out_ones():
    known, strange = np.array([0.1, 0.2, 0.6, 0.1]), {"noise": np.array([0.9, 0.9, 0.5])}
    found = metrics.recognition(known, strange, 0.5)
    assert found.loc["noise", "ROC AUC"] == pytest.approx(11 / 12)
    assert found.loc["noise", "called unfamiliar"] == pytest.approx(2 / 3)
    assert found.loc["held-out images", "called unfamiliar"] == 0.25


def test_a_group_is_measured_like_a_dataset_of_its_own():
    table, probabilities, _ = answers(lesions=30)
    sex = pd.Series(np.where(np.arange(len(table)) % 2, "male", "female"), name="sex")
    sex[0] = None
    found = metrics.by_group(table, probabilities, CODES, sex)
    rows = (sex == "male").to_numpy()
    alone = measure(table[rows], probabilities[rows], CODES)
    assert found.loc["male", "mean recall"] == pytest.approx(balanced(alone)["value"])
    assert found.loc["male", "low"] == pytest.approx(balanced(alone)["low"])
    assert found["images"].tolist() == [104, 105]


def test_small_groups_are_left_out():
    table, probabilities, _ = answers()
    group = pd.Series(["a"] * 130 + ["b"] * 10, name="group")
    assert metrics.by_group(table, probabilities, CODES, group).index.tolist() == ["a"]
    assert metrics.by_group(table, probabilities, CODES, group.where(group == "b")).empty


def test_a_group_of_one_diagnosis_has_no_roc():
    table, probabilities, _ = answers()
    found = metrics.by_group(table, probabilities, CODES, table["diagnosis"])
    assert found["diagnoses"].tolist() == [1] * 7
    assert found["ROC AUC"].isna().all()


def test_worst_mistakes_begin_with_missed_malignant_lesions():
    table, probabilities, truth = answers()
    wrong = metrics.worst_mistakes(table, probabilities, CODES, count=1000)
    assert len(wrong) == (probabilities.argmax(axis=1) != truth).sum()
    malignant, called = (wrong[c].isin(["MEL", "BCC", "AKIEC"]) for c in ("diagnosis", "answer"))
    missed = (malignant & ~called).to_numpy()
    assert missed[: missed.sum()].all()
    assert wrong["probability of the truth"][missed].is_monotonic_increasing


def test_a_diagnosis_that_the_model_does_not_know():
    table, _, _ = answers()
    with pytest.raises(DatasetError, match="does not know SCC"):
        labels.truth_of(table.replace({"diagnosis": {"NV": "SCC"}}), CODES)


def test_difference_is_paired():
    table, probabilities, _ = answers(right=0.7)
    same = metrics.difference(table, probabilities, probabilities, CODES)
    assert same == {"value": 0, "low": 0, "high": 0, "agreement": 1}
    _, others, _ = answers(right=0.7, seed=1)
    found = metrics.difference(table, probabilities, others, CODES)
    expected = [balanced(measure(table, p, CODES))["value"] for p in (probabilities, others)]
    assert found["value"] == pytest.approx(expected[0] - expected[1])
    assert found["low"] < found["value"] < found["high"]
    back = metrics.difference(table, others, probabilities, CODES)
    assert back["value"] == pytest.approx(-found["value"])


def test_mean_recall_is_over_the_diagnoses_that_occur():
    table, probabilities, truth = answers()
    assert metrics.mean_recall(table, probabilities, CODES) == pytest.approx(
        balanced(measure(table, probabilities, CODES))
    )
    rows = truth < 2
    found = metrics.mean_recall(table[rows], probabilities[rows], CODES)
    recalls = [(probabilities[truth == i].argmax(axis=1) == i).mean() for i in range(2)]
    assert found["value"] == pytest.approx(np.mean(recalls))


def test_melanoma_against_nevus_does_not_depend_on_prior_or_other_diagnoses():
    table, probabilities, truth = answers()
    found = metrics.melanoma_against_nevus(table, probabilities, CODES)
    rows = truth < 2
    odds = probabilities[rows, 0] / probabilities[rows, 1]
    assert found["value"] == pytest.approx(roc_auc_score(truth[rows] == 0, odds))
    shifted = priors.reweighted(
        probabilities, priors.balanced(CODES), dict.fromkeys(CODES, 1.0) | {"NV": 9.0}
    )
    assert metrics.melanoma_against_nevus(table, shifted, CODES) == pytest.approx(found)


# What is right of each, by hand: 0.1, 0.6 (either), 0.2 + 0.3 (SCC not known there), 0.2, 0.5.
MEANT = {
    "diagnosis": ["MEL", "SCC", "AKIEC", "AKIEC", "MEL"],
    "alternative": [None, "AKIEC", None, None, None],
    "archive": ["HAM10000", "ISIC 2019", "HAM10000", "MILK10k", "MILK10k"],
    "lesion_id": [*"abcde"],
}
CHANCES = np.array(  # of MEL, AKIEC, SCC
    [[0.1, 0.1, 0.8], [0.4, 0.2, 0.4], [0.5, 0.2, 0.3], [0.5, 0.2, 0.3], [0.5, 0.25, 0.25]]
)
RIGHT = [0.1, 0.6, 0.5, 0.2, 0.5]


def test_the_balanced_log_loss_is_that_of_what_labels_may_mean():
    table, codes, losses = pd.DataFrame(MEANT), ["MEL", "AKIEC", "SCC"], -np.log(RIGHT)
    expected = np.mean([losses[[0, 4]].mean(), losses[1], losses[[2, 3]].mean()])
    found = metrics.balanced_log_loss(table, CHANCES, codes)
    assert found["value"] == pytest.approx(expected)
    assert found["low"] < found["value"] < found["high"]
    assert metrics.balanced_weights(table) @ losses == pytest.approx(expected)
    shuffled = metrics.balanced_log_loss(table, CHANCES[:, [2, 0, 1]], ["SCC", "MEL", "AKIEC"])
    assert shuffled == pytest.approx(found)
    plain = metrics.balanced_log_loss(table.assign(archive="ISIC 2019"), CHANCES, codes)
    assert plain["value"] == pytest.approx(expected + np.log(0.5 / 0.2) / 6)


def test_a_gain_in_log_loss_is_paired_over_lesions():
    table, codes = pd.DataFrame(MEANT), ["MEL", "AKIEC", "SCC"]
    same = metrics.log_loss_gain(table, CHANCES, CHANCES, codes)
    assert same == {"value": 0, "low": 0, "high": 0}
    surer = metrics.log_loss_gain(table, np.sqrt(CHANCES), CHANCES, codes)
    by_hand = np.log(
        np.array([0.1**0.5, 0.4**0.5 + 0.2**0.5, 0.2**0.5 + 0.3**0.5, 0.2**0.5, 0.5**0.5]) / RIGHT
    )
    assert surer["value"] == pytest.approx(metrics.balanced_weights(table) @ by_hand)
    assert surer["low"] > 0
    one_lesion = metrics.log_loss_gain(
        table.assign(lesion_id=[*"abccd"]), np.sqrt(CHANCES), CHANCES, codes
    )
    assert one_lesion["value"] == surer["value"]
    assert one_lesion["high"] < surer["high"]  # c and d are drawn together


def test_melanoma_is_ranked_by_its_probability_alone():
    table, probabilities, truth = answers()
    probabilities = probabilities.round(1)  # with ties
    found = metrics.melanoma_by_probability(table, probabilities, CODES)
    rows = truth < 2
    positive, score = truth[rows] == 0, probabilities[rows, 0]
    assert found["value"] == pytest.approx(roc_auc_score(positive, score))
    weights = metrics._resampled_weights(
        table[rows], positive.astype(int), np.random.default_rng(0)
    )
    drawn = [roc_auc_score(positive, score, sample_weight=weight) for weight in weights]
    assert (found["low"], found["high"]) == pytest.approx(np.percentile(drawn, metrics.LEVELS))


def test_distorted_pictures_are_measured_against_the_pictures_as_they_are(ham10000):
    table = dataset.read(ham10000).groupby("diagnosis").head(2)
    classifier = Classifier.load()
    plain = evaluate.predict_table(classifier, table)
    found = evaluate.robustness(classifier, table, plain)
    assert list(found.index) == list(DISTORTIONS)
    expected = metrics.mean_recall(table, plain, CODES)["value"]
    assert (found["mean recall"] - found["change"]).to_numpy() == pytest.approx(expected)
    assert found["agreement"].between(0, 1).all()
    assert (found["agreement"] < 1).any()


def test_the_int8_graph_is_compared_with_the_float_one(ham10000, tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run / "bundle", tmp_path / "bundle")
    measured = [
        found
        for graph in ("float", "int8", None)
        for found in evaluate.evaluate(folder, ham10000, graph=graph)
    ]
    found = measured[1]["against float"]
    values = [balanced(one)["value"] for one in measured[:2]]
    assert found["value"] == pytest.approx(values[1] - values[0])
    assert 0 < found["agreement"] <= 1
    assert "against float" not in measured[0]
    named = {"title", "command"}
    assert all(measured[2][name] == measured[0][name] for name in measured[0].keys() - named)
    assert [one["title"].endswith(" graph") for one in measured] == [True, True, False]
    record.save(folder, measured[1])
    assert "Against the float graph, paired" in (folder / bundle.CARD).read_text()


def test_a_study_is_in_the_card(tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run / "bundle", tmp_path / "bundle")
    rows = pd.DataFrame({"melanoma against nevus": ["0.7 (0.6 to 0.8)", "0.81"]})
    rows.index = pd.Index(["one source", "mean of the sources"], name="training")
    record.add_study(folder, "Stage sources", rows, "COMMAND")
    text = (folder / bundle.CARD).read_text()
    assert "By `COMMAND`:\n\nStage sources:\n\n| training |" in text
    assert "\n| mean of the sources | 0.81 |\n" in text


def test_strangers_of_every_kind_are_pictures_and_the_same_twice(ham10000, sample):
    table = dataset.read(ham10000)
    found = out_of_distribution.pictures(table, 5)
    kinds = ["photographs", "bare skin", "text pages", "drawings", "noise", "inverted colours"]
    assert list(found) == [*kinds, "synthetic sample"]
    for pictures in found.values():
        assert 1 <= len(pictures) <= 5
        assert all(p.dtype == np.uint8 and p.shape[2:] == (3,) for p in pictures)
    again = out_of_distribution.pictures(table, 5)
    assert all((a == b).all() for k in found for a, b in zip(found[k], again[k], strict=True))
    assert list(out_of_distribution.pictures(dataset.read(sample), 5)) == kinds


def test_the_shipped_model_knows_what_it_does_not_know(ham10000, monkeypatch):
    monkeypatch.setattr(evaluate, "STRANGERS", 8)
    classifier, table = Classifier.load(), dataset.read(ham10000).head(3)
    found = evaluate.unfamiliar(classifier, table, evaluate.predict(classifier, table))
    for kind in ("photographs", "text pages", "drawings", "noise"):
        assert found.loc[kind, "called unfamiliar"] >= 0.8


def test_similar_cases_classify_and_the_rare_ones_count_more():
    class Shown:
        def similar(self, count):
            return [Case("I", "L", code, 1.0) for code in ["NV"] * 15 + ["DF"] * 5][:count]

    prior = dict(zip(CODES, (0.1, 0.6, 0.05, 0.05, 0.1, 0.05, 0.05), strict=True))
    (row,) = evaluate.by_similar_cases([Shown()], prior)
    assert row[CODES.index("DF")] == pytest.approx(100 / 125)
    assert row[CODES.index("NV")] == pytest.approx(25 / 125)


def test_images_are_grouped_by_patient_source_skin_and_artefact(sample):
    table = dataset.read(sample).head(12)
    found = evaluate.groupings(table)
    names = ["sex", "age", "site", "dx_type", "skin tone", "hair", "ruler", "dark corners", "ink"]
    assert [name for name in found if name != "source"] == names
    assert all(len(values) == 12 for values in found.values())
    assert set(found["hair"]) <= {"with", "without"}


def test_a_bundle_without_doubt_says_how_to_add_it():
    plain = dataclasses.replace(bundle.read(bundle.DEFAULT_BUNDLE), doubt={})
    with pytest.raises(BundleError, match=r"skin_cancer\.training\.calibration"):
        evaluate.doubt_of(plain)


def test_the_official_test_set_is_one_folder(sample):
    with pytest.raises(DatasetError, match="Name that folder alone"):
        evaluate.read_part([sample, sample], "test", {})
