import numpy as np
import pandas as pd
import pytest
from pictures import encoded, lesion

from skin_cancer.data import dataset, splits
from skin_cancer.errors import DatasetError, TrainingError
from skin_cancer.training import batches
from skin_cancer.training.batches import Pictures, TrainingImages, assumed_prior
from skin_cancer.training.config import TrainingConfig, divide, kept_apart
from skin_cancer.training.loss import NEVER

CODES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def config(**options):
    return TrainingConfig(image_size=32, first_image_size=32, batch_size=8, **options)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Forty nevi, ten melanomas and two of each other diagnosis, from two sources."""
    folder = tmp_path_factory.mktemp("images")
    diagnoses = ["NV"] * 40 + ["MEL"] * 10 + [code for code in CODES[2:] for _ in range(2)]
    rows = []
    for number, code in enumerate(diagnoses):
        path = folder / f"I{number}.jpg"
        path.write_bytes(encoded(lesion(48, 36, seed=number)))
        source = "rare" if number % 5 == 0 else "frequent"
        rows.append((f"I{number}", f"L{number}", code, source, path))
    table = pd.DataFrame(rows, columns=["image_id", "lesion_id", "diagnosis", "dataset", "path"])
    return table.assign(alternative=None, archive="HAM10000", level=0)


def drawn(table, epochs=60, **options):
    """The diagnoses and sources that so many epochs show."""
    orders = [TrainingImages(table, config(**options), epoch).order for epoch in range(epochs)]
    return table.iloc[np.concatenate(orders)]


def test_an_epoch_shows_each_image_once(table):
    order = TrainingImages(table, config(), 0).order
    assert sorted(order) == list(range(len(table)))


@pytest.mark.parametrize("rebalance", [0.0, 0.5, 1.0])
def test_diagnoses_are_drawn_as_often_as_their_prior_says(table, rebalance):
    options = {"rebalance": rebalance, "source_rebalance": 0.5}
    shares = drawn(table, **options)["diagnosis"].value_counts(normalize=True)
    expected = assumed_prior(table, config(**options))
    assert shares[list(CODES)].to_numpy() == pytest.approx(expected, abs=0.02)
    if rebalance == 1:
        assert expected == pytest.approx(np.full(7, 1 / 7))


def test_sources_can_be_drawn_alike(table):
    nevi = drawn(table, source_rebalance=1.0).query("diagnosis == 'NV'")
    assert nevi["dataset"].value_counts(normalize=True)["rare"] == pytest.approx(0.5, abs=0.03)


def test_batches_are_functions_of_the_seed(table):
    options = {"augmentation": 2.0, "mixup": 0.2, "rebalance": 0.5}
    one, same = (TrainingImages(table, config(**options), 3) for _ in range(2))
    other = TrainingImages(table, config(seed=1, **options), 3)
    for batch in range(len(one)):
        assert all(np.array_equal(a, b) for a, b in zip(one[batch], same[batch], strict=True))
    assert (one[0][0] != other[0][0]).any()


def test_mixed_views_have_mixed_labels(table):
    views, labels = TrainingImages(table, config(mixup=1.0), 0)[0]
    labels = labels[:, :7]
    assert views.dtype == labels.dtype == np.float32
    assert 0 <= views.min() < views.max() <= 255
    assert labels.sum(axis=1) == pytest.approx(np.ones(8))
    assert ((labels > 0) & (labels < 1)).any()
    plain, plain_labels = TrainingImages(table, config(), 0)[0]
    assert plain.dtype == np.uint8
    assert set(np.unique(plain_labels[:, :7])) == {0, 1}


def test_a_teacher_is_listened_to_under_the_prior_of_the_views(table, tmp_path):
    taught = pd.DataFrame(1 / 7, index=pd.Index(table["image_id"], name="image_id"), columns=CODES)
    taught.to_csv(tmp_path / "taught.csv")
    options = config(targets=str(tmp_path / "taught.csv"), distillation=1.0, rebalance=0.5)
    labels = batches.soft_labels(table, options)
    for row in labels:
        assert row == pytest.approx(assumed_prior(table, options), abs=1e-6)
    half = config(targets=options.targets, distillation=0.5)
    assert batches.soft_labels(table, half).argmax(axis=1).tolist() == (
        [CODES.index(code) for code in table["diagnosis"]]
    )


def test_a_teacher_that_does_not_know_all_images(table, tmp_path):
    taught = pd.DataFrame(1 / 7, index=pd.Index(["I0", "I1"], name="image_id"), columns=CODES)
    taught.to_csv(tmp_path / "taught.csv")
    with pytest.raises(TrainingError, match=f"no probabilities for {len(table) - 2} of"):
        batches.soft_labels(table, config(targets=str(tmp_path / "taught.csv")))


@pytest.mark.parametrize("text", ["", "name,MEL\nI0,1\n", "image_id,MEL\nI0,high\n"])
def test_a_file_that_is_no_teacher(table, tmp_path, text):
    (tmp_path / "taught.csv").write_text(text)
    with pytest.raises(TrainingError, match="no table of image_id and probabilities"):
        batches.soft_labels(table, config(targets=str(tmp_path / "taught.csv")))


def test_pictures_are_kept_as_long_as_there_is_room(table, tmp_path, monkeypatch):
    copy = table.head(3).assign(path=[tmp_path / f"{i}.jpg" for i in range(3)])
    for path, original in zip(copy["path"], table["path"], strict=False):
        path.write_bytes(original.read_bytes())
    one = dataset.read_image(table["path"][0])
    monkeypatch.setattr(batches, "CACHE_BYTES", 2 * one.nbytes)
    pictures = Pictures(copy)
    assert (pictures[0] == one).all()
    assert all(pictures[i].shape == one.shape for i in range(3))
    for path in copy["path"]:
        path.unlink()
    assert (pictures[0] == one).all()
    with pytest.raises(DatasetError, match=r"2\.jpg cannot be used"):
        pictures[2]


def test_lesions_can_be_drawn_alike(table):
    burst = table.assign(lesion_id=["L" if n < 10 else f"L{n}" for n in range(len(table))])
    chances = pd.Series(TrainingImages(burst, config(lesion_rebalance=1.0, views=4000), 0).order)
    shares = chances.map(burst["lesion_id"]).value_counts(normalize=True)
    assert shares.to_numpy() == pytest.approx(np.full(len(shares), 1 / len(shares)), abs=0.005)
    assert (chances[chances < 10].value_counts() > 0).sum() == 10


def test_an_epoch_has_as_many_views_as_asked(table):
    few, many = (TrainingImages(table, config(views=views), 0) for views in (16, 200))
    assert (len(few), len(many)) == (2, 25)
    assert len(set(few.order)) == 16
    assert set(many.order) == set(range(len(table)))
    assert (few.order != TrainingImages(table, config(views=16), 1).order).any()


@pytest.fixture
def either(table):
    """Ten nevi that may be melanomas instead."""
    alternative = ["MEL" if n < 10 else None for n in range(len(table))]
    return table.assign(alternative=alternative)


def test_an_image_may_show_either_of_two_diagnoses(either):
    sets = dataset.label_sets(either)
    assert sets[0].tolist() == [1, 1, 0, 0, 0, 0, 0]
    assert sets[10].tolist() == [0, 1, 0, 0, 0, 0, 0]
    counts = np.array([15, 35, 2, 2, 2, 2, 2])
    for prior in (batches.class_prior(either), assumed_prior(either, config())):
        assert prior == pytest.approx(counts / 60)


def test_a_source_lends_its_class_shares_and_excuses_no_diagnosis(table):
    """No vascular lesion is from the rare source."""
    table = table.assign(dataset=table["dataset"].mask(table["diagnosis"] == "VASC", "frequent"))
    overall = assumed_prior(table, config())
    seen = batches.seen_priors(table, config(source_prior=0.5))
    rare = table["dataset"] == "rare"
    own = table["diagnosis"][rare].value_counts(normalize=True).reindex(CODES, fill_value=0)
    assert seen[rare] == pytest.approx(np.tile((overall + own) / 2, (rare.sum(), 1)))
    assert seen.sum(axis=1) == pytest.approx(1)
    assert (seen > 0.49 * overall).all()
    assert batches.seen_priors(table, config()) == pytest.approx(np.tile(overall, (len(table), 1)))


@pytest.mark.parametrize("options", [{"source_prior": 0.6}, {"source_prior": 0.1, "targets": "t"}])
def test_the_shares_of_a_source_weigh_at_most_half(options):
    with pytest.raises(TrainingError, match=r"source_prior=0\.\d.* weigh at most half"):
        config(**options)


@pytest.mark.parametrize("options", [{"mixup": 0.2}, {"targets": "taught.csv"}])
def test_either_of_two_is_not_mixed_with_other_labels(either, options):
    with pytest.raises(TrainingError, match="may show either of two diagnoses"):
        TrainingImages(either, config(**options), 0)


def test_softened_views_are_functions_of_the_seed_and_differ(table):
    plain, soft, same = (
        TrainingImages(table, config(softening=chance), 0)[0][0] for chance in (0, 1, 1)
    )
    assert np.array_equal(soft, same)
    assert (soft != plain).any(axis=(1, 2, 3)).all()


@pytest.fixture
def divided(table):
    lesions = table.assign(fold=[number % 6 - 1 for number in range(len(table))])
    lesions.loc[lesions.index[7], "lesion_id"] = "L5"  # one lesion, two sources
    return lesions.assign(group=lesions["lesion_id"])


def test_a_fold_is_left_out(divided):
    training, validation = divide(divided, config(fold=2).recipe)
    assert set(training["fold"]) == {0, 1, 3, 4}
    assert set(validation["fold"]) == {2}
    assert len(divide(divided, config().recipe)[1]) == 0


def test_a_source_is_left_out_with_all_its_lesions(divided):
    training, validation = divide(divided, config(source="rare").recipe)
    assert set(validation["dataset"]) == {"rare"}
    assert set(training["dataset"]) == {"frequent"}
    assert not set(training["lesion_id"]) & set(validation["lesion_id"])
    assert -1 not in set(training["fold"]) | set(validation["fold"])
    assert len(training) + len(validation) == (divided["fold"] >= 0).sum() - 1


def test_what_is_kept_apart_is_told_for_each_archive(divided):
    divided.loc[divided.index[30:], "archive"] = "MILK10k"
    divided.loc[divided["archive"] == "MILK10k", "fold"] = 0
    training, validation = divide(divided, config(fold=3).recipe)
    apart = kept_apart(divided, training)
    assert apart["MILK10k"] == []
    held = divided["lesion_id"][divided["fold"] == splits.HOLDOUT]
    assert apart["HAM10000"] == sorted({*validation["lesion_id"], *held})


def test_a_source_is_left_out_with_what_is_linked_to_it(divided):
    rare = divided[(divided["dataset"] == "rare") & (divided["fold"] >= 0)].index[0]
    other = divided[(divided["dataset"] == "frequent") & (divided["fold"] >= 0)].index[0]
    divided.loc[other, "group"] = divided.loc[rare, "group"]
    training, _ = divide(divided, config(source="rare").recipe)
    assert divided.loc[other, "image_id"] not in set(training["image_id"])


def test_what_no_network_may_learn_is_in_no_part(divided):
    divided.loc[divided.index[:3], "fold"] = [splits.APART, splits.LINKED, splits.APART]
    for options in ({}, {"fold": 1}, {"source": "rare"}):
        parts = pd.concat(divide(divided, config(**options).recipe))
        assert (parts["fold"] >= 0).all()
    everything, _ = divide(divided, config(holdout="included").recipe)
    assert set(divided["image_id"]) - set(everything["image_id"]) == {"I0", "I2"}


def test_the_holdout_is_trained_on_only_if_asked(divided):
    training, validation = divide(divided, config(holdout="included").recipe)
    assert len(training) == len(divided)
    assert len(validation) == 0


@pytest.fixture
def several(divided):
    """The first thirty images are of MILK10k, without a source that says more."""
    first = divided.index < 30
    return divided.assign(
        archive=divided["archive"].mask(first, "MILK10k"),
        dataset=divided["dataset"].mask(first, "MILK10k"),
    )


def test_an_archive_is_left_out_as_a_source_is(several):
    training, validation = divide(several, config(source="HAM10000").recipe)
    assert set(validation["archive"]) == {"HAM10000"}
    assert set(validation["dataset"]) == {"rare", "frequent"}
    assert set(training["archive"]) == {"MILK10k"}


def test_some_sources_and_archives_are_learnt_from_and_all_validated_on(several):
    everything, all_of_fold = divide(several, config(fold=2).recipe)
    training, validation = divide(several, config(fold=2, learn_from="MILK10k,rare").recipe)
    assert validation.equals(all_of_fold)
    assert set(training["dataset"]) == {"MILK10k", "rare"}
    assert len(training) == (everything["dataset"] != "frequent").sum()
    held, _ = divide(several, config(holdout="included", learn_from="HAM10000").recipe)
    assert len(held) == (several["archive"] == "HAM10000").sum()


@pytest.mark.parametrize("options", [{"fold": 0}, {"holdout": "included"}])
def test_what_is_to_be_learnt_from_is_there(several, options):
    words = r"no source 'moon', '' to learn from.*: HAM10000, MILK10k, frequent, rare\."
    with pytest.raises(TrainingError, match=words):
        divide(several, config(learn_from="rare,moon,", **options).recipe)
    with pytest.raises(TrainingError, match=r"no source 'rare' to learn from"):
        divide(several, config(learn_from="rare", source="rare").recipe)


EIGHT = (*CODES, "SCC")


def test_a_diagnosis_without_images_keeps_a_share_and_takes_no_part(table):
    for shares in (
        batches.class_prior(table, EIGHT),
        assumed_prior(table, config(rebalance=0.5), EIGHT),
        batches.seen_priors(table, config(source_prior=0.5), EIGHT)[0],
    ):
        assert shares.sum() == pytest.approx(1)
        assert shares.min() == shares[7] > 0
    plain, eight = (
        TrainingImages(table, config(), 0, codes=codes).labels for codes in (CODES, EIGHT)
    )
    assert eight.dtype == np.float32
    assert eight[:, :7].tolist() == plain[:, :7].tolist()
    assert (eight[:, [7, 15]] == [0, NEVER]).all()
    shares = np.exp(plain[:, 7:])
    assert np.exp(eight[:, 8:15]) == pytest.approx(shares, rel=0.03)


def test_a_teacher_may_know_a_diagnosis_without_images(table, tmp_path):
    taught = pd.DataFrame(1 / 8, index=pd.Index(table["image_id"], name="image_id"), columns=EIGHT)
    taught.to_csv(tmp_path / "taught.csv")
    options = config(targets=str(tmp_path / "taught.csv"))
    labels = TrainingImages(table, options, 0, codes=EIGHT).labels
    assert np.exp(labels[:, 8:]) == pytest.approx(
        np.tile(assumed_prior(table, options, EIGHT), (len(table), 1)), rel=1e-4
    )


def test_a_source_that_is_not_there(divided):
    with pytest.raises(TrainingError, match=r"no source 'moon'.*frequent, rare"):
        divide(divided, config(source="moon").recipe)
