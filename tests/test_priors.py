import numpy as np
import pytest

from skin_cancer import priors

CODES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC", "SCC")


def test_probabilities_are_brought_to_another_prior_by_the_rule_of_bayes():
    probabilities = np.array([[0.5, 0.5], [0.2, 0.8]])
    wanted = {"MEL": 0.25, "NV": 0.75}
    shifted = priors.reweighted(probabilities, priors.balanced(wanted), wanted)
    assert shifted == pytest.approx(np.array([[0.25, 0.75], [1 / 13, 12 / 13]]))
    back = priors.reweighted(shifted, wanted, priors.balanced(wanted))
    assert back == pytest.approx(probabilities)


def test_logits_are_shifted_as_probabilities_are_reweighted():
    logits = np.random.default_rng(0).normal(size=(5, 2))
    assumed, wanted = {"MEL": 0.1, "NV": 0.9}, {"MEL": 0.6, "NV": 0.4}
    expected = priors.reweighted(priors.softmax(logits), assumed, wanted)
    assert priors.softmax(logits + priors.shift(assumed, wanted)) == pytest.approx(expected)


@pytest.mark.parametrize("codes", [CODES[:7], CODES])
def test_every_named_prior_gives_each_diagnosis_a_share_and_says_where_it_comes_from(codes):
    named = priors.of_training({code: i + 1 for i, code in enumerate(codes)}, "HAM10000")
    assert tuple(named) == priors.NAMES
    for prior in named.values():
        assert tuple(prior.shares) == codes
        assert sum(prior.shares.values()) == pytest.approx(1)
        assert prior.source
    assert named["screening"].shares["MEL"] < 0.01
    assert named["balanced"].shares == dict.fromkeys(codes, 1 / len(codes))


def test_a_clinic_is_as_ham10000_and_with_eight_diagnoses_whatever_was_trained_on():
    seven, eight = (dict.fromkeys(CODES[:n], 1) | {"BCC": 30} for n in (7, 8))
    assert priors.of_training(seven, "HAM10000")["clinic"].shares["BCC"] == 30 / 36
    clinic = priors.of_training(eight, "MILK10k")["clinic"].shares
    assert clinic["BCC"] == pytest.approx(0.043, abs=0.001)
    assert clinic["SCC"] / clinic["BCC"] == pytest.approx(393 / 2012, abs=0.001)


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), "1", None])
def test_an_impossible_share_is_refused(weight):
    with pytest.raises(ValueError, match="a weight above zero"):
        priors.shares({"MEL": 1, "NV": weight}, ("MEL", "NV"))
