import dataclasses
import re

import pytest

from skin_cancer import priors
from skin_cancer.data import credits
from skin_cancer.model import bundle, card

SECTIONS = [
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
    "How to reproduce",
    "Licence",
]
CODES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC", "SCC")
DOUBT = {
    "temperature": 0.927,
    "sets": {
        "coverage": 0.9,
        "thresholds": {code: 0.1 + i / 100 for i, code in enumerate(CODES)},
    },
    "thresholds": {
        "clinic": [
            {"sensitivity": 0.9, "threshold": 0.3217},
            {"sensitivity": 0.98, "threshold": 0.0456},
        ]
    },
    "images": 8525,
    "unfamiliarity": {"scale": {}, "threshold": 4.0, "step": 1.0},
}


@pytest.fixture(scope="module")
def shipped():
    return bundle.read(bundle.DEFAULT_BUNDLE)


def written(description, **changes):
    return card.model_card(dataclasses.replace(description, **changes))


def plain(text):
    """The text without its line breaks, as Markdown shows a paragraph."""
    return re.sub(r"\s+", " ", text)


def of_one(description):
    """The description without what it learnt of other archives than HAM10000."""
    alone = {"dataset": "HAM10000", "picture_size": [298, 224]}
    training = trained_as(description, **alone)
    for name in ("images_of_sources", "links"):
        training["provenance"].pop(name, None)
    named = priors.of_training(description.prior, "HAM10000")
    return dataclasses.replace(description, training=training, priors=named)


def trained_as(description, recipe=None, **provenance):
    training = description.training
    return {
        **training,
        "recipe": {**training["recipe"], **(recipe or {})},
        "provenance": {**training["provenance"], **provenance},
    }


@pytest.fixture(scope="module", params=[{}, DOUBT], ids=["without doubt", "with doubt"])
def either(shipped, request):
    return written(shipped, doubt=request.param)


def test_the_sections_are_those_of_model_cards_for_model_reporting(either):
    assert re.findall(r"^## (.+)$", either, re.MULTILINE) == SECTIONS
    assert not re.search(r"[{}]", either)
    assert not re.search(r"\n{3}|[ \xa0]$", either, re.MULTILINE)


def test_lines_are_at_most_100_wide_but_tables_figures_and_commands(either):
    long = [line for line in either.splitlines() if len(line) > card.WIDTH]
    assert all(re.match(r"\||!\[|`[^`]+`\S*$", line) for line in long)


def test_every_figure_and_no_other_is_linked(shipped, either):
    assert re.findall(r"!\[[^]]*\]\(([^)]*)\)", either) == shipped.figures


def test_everything_measured_and_compared_is_there(shipped, either):
    analyses = either.split("## Quantitative analyses")[1].split("## Ethical considerations")[0]
    titles = re.findall(r"^### (.+)$", analyses, re.MULTILINE)
    assert titles == [*shipped.metrics, "How the recipe was found"]
    for measured in shipped.metrics.values():
        assert all(f"{caption}:" in analyses for caption in measured.get("tables", {}))
    assert all(f"{caption}:" in analyses for caption in shipped.studies)
    for name, value in shipped.training["provenance"]["versions"].items():
        assert f"{name} {value}" in plain(either)


def test_without_doubt_it_says_what_the_model_cannot(shipped):
    text = plain(written(shipped, doubt={}))
    assert "The probabilities are not calibrated, and the model has no notion of unfamiliar" in text
    assert "no notion yet of a picture that shows something else" in text
    assert "reference.npz" not in text
    assert "temperature" not in text
    assert "Coverage" not in text


def test_with_doubt_it_says_how_far_an_answer_can_be_trusted(shipped):
    whole = written(shipped, doubt=DOUBT)
    text = plain(whole)
    assert "not calibrated" not in text
    assert "no notion" not in text
    assert "divided by a temperature of 0.927" in text
    assert "fitted on 8,525 out-of-fold predictions of networks of the same kind" in text
    kept = trained_as(shipped, {"holdout": "apart", "fold": 0})
    text_of_fold = plain(written(shipped, doubt=DOUBT, training=kept))
    assert "predictions of this network, or of networks of the same kind" in text_of_fold
    assert "\n| MEL | 0.100 |\n| NV | 0.110 |\n" in whole
    assert "\n| clinic | 0.90 | 0.322 |\n| clinic | 0.98 | 0.046 |\n" in whole
    assert "in 90 % of the lesions of each diagnosis" in text
    assert "One in a hundred training images is above 0.5" in text
    assert "64 numbers of 8 bits" in text
    assert "\n| `reference.npz` |" in whole


@pytest.mark.parametrize("doubt", [{}, DOUBT])
def test_a_model_of_drawings_speaks_of_no_patients_data(shipped, doubt):
    alone = of_one(shipped)
    training = trained_as(alone, {"start_weights": "random"}, dataset="synthetic sample")
    del training["starts"]
    changes = {"training": training, "metrics": {}, "studies": {}, "doubt": doubt}
    changes["diagnoses"] = shipped.diagnoses[:7]
    seven = {code: shipped.prior[code] for code in changes["diagnoses"]}
    changes["priors"] = priors.of_training(seven, "synthetic sample")
    text = plain(written(shipped, **changes))
    assert "lesions of the synthetic sample" in text
    assert "HAM10000" not in text
    assert "CC BY-NC" not in text
    assert "ISIC" not in text
    assert "trained on, free for any use: MIT (the synthetic sample)." in text
    assert "They started from random values." in text
    assert "Not measured yet" in text
    assert "No trainings were compared." in text


def test_a_model_of_several_archives_says_what_it_learnt_of_each(shipped):
    training = trained_as(
        shipped,
        dataset="HAM10000, ISIC 2019",
        images_of_sources={"HAM10000, rosendahl": 1500, "ISIC 2019, BCN_20000": 8000},
        images_levelled={"BCN_20000, 84": 8000},
        lesions_unnamed=1048,
        links=[["A", "B"], ["C", "D"]],
        links_sha256="abc",
        kept_sha256="def",
    )
    whole = written(shipped, training=training)
    text = plain(whole)
    assert "\n| ISIC 2019, BCN_20000 | 8,000 |\n" in whole
    assert "1,048 of these images name no lesion; each counts as a lesion of its own." in text
    assert "All 8,000 images of BCN_20000 are reduced to 84 pixels and compressed alike" in text
    assert "2 pairs of lesions that local features found to be one" in text
    assert "ids of the lesions kept apart: `def`." in text
    assert "(Tschandl, Rosendahl, Kittler 2018, doi:10.1038/sdata.2018.161); ISIC 2019 (" in text


def test_the_licence_is_that_of_the_data(shipped):
    text = plain(written(shipped, training=trained_as(shipped, dataset="ISIC 2019")))
    assert "trained on, for non-commercial use only: CC BY-NC 4.0 (ISIC 2019)." in text
    assert "EfficientNet-Lite's ImageNet weights (Apache-2.0" in text


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"holdout": "included"}, "None is set aside"),
        ({"holdout": "apart", "fold": None}, "never seen in training. The holdout"),
        ({"holdout": "apart", "fold": 3}, "Fold 3 was kept for validation."),
        ({"holdout": "apart", "fold": 0, "source": "rosendahl"}, "Source rosendahl was kept"),
    ],
)
def test_it_says_what_was_kept_from_training(shipped, recipe, words):
    assert words in plain(written(shipped, training=trained_as(shipped, recipe)))


def test_commands_stay_on_one_line(either):
    assert (
        "\n`python -m skin_cancer.evaluation --bundle BUNDLE --data DATA --part holdout`." in either
    )


def test_several_datasets_are_said_together(shipped):
    training = trained_as(shipped, dataset="HAM10000, ISIC 2019, MILK10k")
    text = plain(written(shipped, training=training))
    for name in ("Tschandl", "ISIC 2019 (HAM10000, BCN20000 and MSK", "MILK study team"):
        assert name in text
    assert text.count(credits.USES) == 1
    assert "30 % of those of MILK10k" in text
    assert "of those of MILK10k" not in plain(written(of_one(shipped)))


def test_epochs_that_were_not_validated_have_an_empty_cell(shipped):
    history = [{**row, "loss": 1.0, "accuracy": 0.5} for row in shipped.training["history"][:2]]
    history = [
        {k: v for k, v in row.items() if k != "validation_balanced_accuracy"} for row in history
    ]
    history[1]["validation_balanced_accuracy"] = 0.7251
    text = written(shipped, training={**shipped.training, "history": history})
    rows = [line for line in text.splitlines() if line.startswith(("| 1 |", "| 2 |"))]
    assert [row.rsplit("|", 2)[1].strip() for row in rows] == ["", "0.725"]
