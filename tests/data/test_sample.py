import csv

import cv2
import numpy as np
import pandas as pd
import pytest

from skin_cancer.data import dataset, sample, splits
from skin_cancer.diagnoses import ISIC_2018
from skin_cancer.errors import DatasetError

CODES = [diagnosis.code for diagnosis in ISIC_2018]


@pytest.fixture(scope="module")
def bare():
    """One drawing of each diagnosis, without artefacts."""
    return {code: sample.draw(code, 5, artefacts=()) for code in CODES}


@pytest.fixture
def written(sample):
    """The whole sample, as it lies in the user's cache."""
    return sample


@pytest.fixture
def few_pictures(monkeypatch):
    """Make the sample quick to write."""
    cohort = [sample._cohort()[number] for number in (0, 1, -1)]
    monkeypatch.setattr(sample, "_cohort", lambda: cohort)


def luminance(pixels):
    return pixels.mean(axis=0) @ np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize("code", CODES)
def test_the_same_arguments_give_the_same_picture(code):
    one, two = sample.draw(code, (3, 1), view=2), sample.draw(code, (3, 1), view=2)
    assert one.artefacts == two.artefacts
    for name in ("image", "bare", "lesion", "hairs"):
        assert np.array_equal(getattr(one, name), getattr(two, name))


def test_seeds_and_views_give_other_pictures():
    pictures = [
        sample.draw("NV", seed, view, ()).image for seed, view in ((1, 0), (1, 1), (2, 0), (2, 1))
    ]
    for i, picture in enumerate(pictures):
        assert all((picture != other).mean() > 0.5 for other in pictures[:i])


def test_views_show_the_same_lesion_on_the_same_skin():
    views = [sample.draw("NV", 8, view, ()) for view in range(4)]
    others = [sample.draw("NV", seed, 0, ()) for seed in range(20, 32)]
    skin = [luminance(drawing.bare[~drawing.lesion]) for drawing in views]
    other_skin = [luminance(drawing.bare[~drawing.lesion]) for drawing in others]
    assert np.std(skin) < 0.3 * np.std(other_skin)


@pytest.mark.parametrize("code", CODES)
def test_the_lesion_is_of_plausible_size_and_stands_out_from_the_skin(bare, code):
    drawing = bare[code]
    assert drawing.image.shape == (450, 600, 3)
    assert drawing.image.dtype == np.uint8
    assert 0.08 < drawing.lesion.mean() < 0.5
    off_skin = np.abs(drawing.bare - drawing.bare[~drawing.lesion].mean(axis=0)).mean(axis=2)
    assert off_skin[drawing.lesion].mean() > 1.5 * off_skin[~drawing.lesion].mean()


def test_pigment_is_darker_than_skin_of_every_tone():
    tones = set()
    for seed in range(12):
        for code in ("MEL", "NV", "BKL"):
            drawing = sample.draw(code, seed, artefacts=())
            skin = luminance(drawing.bare[~drawing.lesion])
            assert luminance(drawing.bare[drawing.lesion]) < 0.95 * skin
        tones.add(round(skin / 20))
    assert len(tones) >= 4


@pytest.mark.parametrize("code", CODES)
def test_hairs_are_marked_to_the_pixel(code):
    drawing = sample.draw(code, 4, artefacts=("hair",))
    assert drawing.artefacts == ("hair",)
    differs = (drawing.image != drawing.bare).any(axis=2)
    assert not (differs & ~drawing.hairs).any()
    assert differs.sum() > 0.9 * drawing.hairs.sum() > 500


@pytest.mark.parametrize("name", sample.ARTEFACTS)
def test_each_artefact_is_drawn_over_the_same_picture(name, bare):
    drawing = sample.draw("NV", 5, artefacts=(name,))
    assert np.array_equal(drawing.bare, bare["NV"].image)
    assert 0.001 < (drawing.image != drawing.bare).any(axis=2).mean() < 0.4
    assert drawing.hairs.any() == (name == "hair")


def test_without_a_choice_the_artefacts_vary():
    chosen = {name for seed in range(12) for name in sample.draw("DF", seed).artefacts}
    assert chosen == set(sample.ARTEFACTS)


def test_every_picture_says_that_it_is_synthetic(bare):
    pictures = [*bare.values(), sample.draw("MEL", 1, 1, sample.ARTEFACTS)]
    strips = [image[422:, 75:213] for p in pictures for image in (p.image, p.bare)]
    assert 0.1 < (strips[0] > 150).mean() < 0.5
    assert all(np.array_equal(strip, strips[0]) for strip in strips)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(DatasetError, match=r"SCC cannot be drawn\. Choose a diagnosis of MEL"):
        sample.draw("SCC", 0)
    with pytest.raises(DatasetError, match=r"tattoo cannot be drawn"):
        sample.draw("NV", 0, artefacts=("tattoo",))


def test_the_sample_reads_and_splits_like_ham10000(written):
    table = dataset.read(written)
    lesions = table.drop_duplicates("lesion_id")["diagnosis"].value_counts()
    assert lesions[CODES].tolist() == [12, 30, 10, 9, 12, 8, 8]
    views = table.groupby("lesion_id").size()
    assert set(views) == {1, 2, 3}
    assert 0.25 < (views > 1).mean() < 0.55
    folds = splits.split(table)
    assert (folds.groupby("lesion_id")["fold"].nunique() == 1).all()
    assert folds.groupby("fold")["diagnosis"].nunique().eq(7).all()


def test_metadata_are_plausible(written):
    table = pd.read_csv(written / "HAM10000_metadata.csv")
    malignant = table["dx"].isin(["mel", "bcc", "akiec"])
    assert (table.loc[malignant, "dx_type"] == "histo").all()
    assert set(table["dx_type"]) <= {"histo", "follow_up", "consensus", "confocal"}
    assert 0 < table["age"].isna().mean() < 0.12
    assert table["age"].dropna().between(5, 95).all()
    assert set(table["sex"]) <= {"male", "female", "unknown"}
    assert (table["dataset"] == "synthetic").all()
    same = table.groupby("lesion_id")[["dx", "dx_type", "age", "sex", "localization"]]
    assert (same.nunique(dropna=False) == 1).all(axis=None)


def test_the_test_set_has_lesions_and_images_of_its_own(written):
    truth = dataset.read_test(written)
    assert truth["diagnosis"].value_counts()[CODES].tolist() == [8, 14, 7, 6, 8, 5, 5]
    images = {path.stem for path in (written / "ISIC2018_Task3_Test_Images").glob("*.jpg")}
    assert images == set(truth["image_id"])
    training = dataset.read(written)
    for column in ("image_id", "lesion_id"):
        assert set(truth[column]).isdisjoint(training[column])


def test_every_image_has_its_mask(written):
    for image in written.glob("*mages*/*.jpg"):
        mask = cv2.imread(
            str(written / sample.MASKS / f"{image.stem}_segmentation.png"), cv2.IMREAD_UNCHANGED
        )
        assert mask.shape == (450, 600)
        assert set(np.unique(mask)) == {0, 255}


def test_the_sample_is_small_and_says_what_it_is(written):
    assert sum(path.stat().st_size for path in written.rglob("*")) < 15e6
    assert "nothing here means anything medically" in (written / "README.md").read_text()


@pytest.mark.usefixtures("few_pictures")
def test_the_cache_is_written_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = sample.sample_folder()
    assert folder.parent == tmp_path / "skin_cancer"
    monkeypatch.setattr(sample, "write_sample", None)
    assert sample.sample_folder() == folder


@pytest.mark.usefixtures("few_pictures")
def test_another_version_of_the_drawings_has_another_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = sample.sample_folder()
    other = tmp_path / "sample.py"
    other.write_text("another version")
    monkeypatch.setattr(sample, "__file__", str(other))
    assert sample.sample_folder() != first


@pytest.mark.usefixtures("few_pictures")
def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_, **__):
        assert list(tmp_path.rglob("*.jpg"))
        assert not (tmp_path / "data").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(csv, "DictWriter", stop)
    with pytest.raises(KeyboardInterrupt):
        sample.write_sample(tmp_path / "data")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("few_pictures")
def test_a_folder_that_exists_is_kept(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DatasetError, match="It needs a new folder"):
        sample.write_sample(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.usefixtures("few_pictures")
def test_the_first_of_two_processes_writes_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    write = sample.write_sample

    def second(folder):
        write(folder)
        (folder / "first").touch()
        return write(folder)

    monkeypatch.setattr(sample, "write_sample", second)
    folder = sample.sample_folder()
    assert (folder / "first").is_file()
    assert list(folder.parent.iterdir()) == [folder]


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DatasetError, match=r"cannot be written.*set XDG_CACHE_HOME"):
        sample.sample_folder()


@pytest.mark.parametrize("name", sample.ARTEFACTS)
@pytest.mark.parametrize("shape", [(224, 298, 3), (400, 300, 3)])
def test_an_artefact_can_be_drawn_over_any_photograph(name, shape):
    image = np.full(shape, 180, np.uint8)
    drawn = sample.add_artefact(image, name, 1)
    assert drawn.shape == shape
    assert drawn.dtype == np.uint8
    assert (drawn != image).any(axis=2).mean() > 0.001
    assert (sample.add_artefact(image, name, 1) == drawn).all()
    assert (sample.add_artefact(image, name, 2) != drawn).any()


def test_an_unknown_artefact_cannot_be_drawn():
    with pytest.raises(DatasetError, match="moon cannot be drawn"):
        sample.add_artefact(np.zeros((64, 64, 3), np.uint8), "moon", 1)
