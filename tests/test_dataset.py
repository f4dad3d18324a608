import shutil

import pandas as pd
import pytest

from skin_cancer import dataset
from skin_cancer.errors import DatasetError


@pytest.fixture
def copy(ham10000, tmp_path):
    return shutil.copytree(ham10000, tmp_path / "data")


def edit(folder, change):
    path = folder / "HAM10000_metadata.csv"
    table = pd.read_csv(path)
    change(table).to_csv(path, index=False)


def test_read_maps_codes_and_finds_images_in_both_parts(ham10000):
    table = dataset.read_ham10000(ham10000)
    assert table["path"].map(lambda path: path.is_file()).all()
    assert table["path"].map(lambda path: path.parent.name).nunique() == 2
    assert set(zip(table["dx"], table["diagnosis"], strict=True)) >= {("mel", "MEL"), ("nv", "NV")}
    assert table["image_id"].is_monotonic_increasing


def test_one_error_lists_all_that_is_wrong(copy):
    (copy / "HAM10000_images_part_1" / "ISIC_0000000.jpg").unlink()

    def spoil(table):
        table.loc[1, "dx"] = "wart"
        table.loc[3, "image_id"] = table.loc[2, "image_id"]
        return table

    edit(copy, spoil)
    with pytest.raises(DatasetError) as error:
        dataset.read_ham10000(copy)
    message = str(error.value)
    assert "absent: ISIC_0000000" in message
    assert "unknown diagnoses: wart" in message
    assert "stand twice: ISIC_0000002" in message
    assert "more than one diagnosis: HAM_0000000" in message
    assert "unpack the official archive" in message


def test_long_lists_are_cut(copy):
    shutil.rmtree(copy / "HAM10000_images_part_2")
    with pytest.raises(DatasetError, match=r"ISIC_0000001, .* and \d+ more"):
        dataset.read_ham10000(copy)


def test_empty_folder(tmp_path):
    with pytest.raises(DatasetError, match=r"holds no HAM10000_metadata\.csv"):
        dataset.read_ham10000(tmp_path)


def test_absent_folder(tmp_path):
    with pytest.raises(DatasetError, match="There is no folder"):
        dataset.read_ham10000(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "lesion_id,image_id,dx\n", "\0\0\0"])
def test_useless_metadata(copy, content):
    (copy / "HAM10000_metadata.csv").write_text(content)
    with pytest.raises(DatasetError):
        dataset.read_ham10000(copy)


def test_folder_without_images(copy):
    for part in (1, 2):
        shutil.rmtree(copy / f"HAM10000_images_part_{part}")
    with pytest.raises(DatasetError, match="no image file"):
        dataset.read_ham10000(copy)


def test_data_folder_from_the_environment(monkeypatch):
    monkeypatch.setenv("ISIC_DATA_DIR", "somewhere")
    assert str(dataset.data_folder()) == "somewhere"
    monkeypatch.delenv("ISIC_DATA_DIR")
    with pytest.raises(DatasetError, match="ISIC_DATA_DIR"):
        dataset.data_folder()


def many_lesions():
    rows = [
        (f"L{number}", f"I{number}-{image}", code)
        for number, code in enumerate(["NV"] * 300 + ["MEL"] * 60 + ["DF"] * 20)
        for image in range(1 + number % 3)
    ]
    return pd.DataFrame(rows, columns=["lesion_id", "image_id", "diagnosis"])


def test_no_lesion_is_ever_split():
    for seed in range(20):
        parts = dataset.split(many_lesions(), seed).groupby("lesion_id")["fold"].nunique()
        assert (parts == 1).all()


def test_split_is_stratified():
    lesions = dataset.split(many_lesions()).drop_duplicates("lesion_id")
    counts = lesions.groupby(["fold", "diagnosis"]).size().unstack()
    assert counts.loc[dataset.HOLDOUT].tolist() == [3, 9, 45]
    assert (counts.loc[0:4].max() - counts.loc[0:4].min() <= 1).all()


def test_split_depends_on_lesions_and_seed_alone():
    table = many_lesions()
    shuffled = table.sample(frac=1, random_state=1)
    assert dataset.split(shuffled).sort_index().equals(dataset.split(table))
    assert not dataset.split(table, seed=1).equals(dataset.split(table))


def test_too_few_lesions_to_split():
    table = many_lesions()
    with pytest.raises(DatasetError, match="'DF': 6"):
        dataset.split(table[~table["lesion_id"].isin([f"L{i}" for i in range(366, 380)])])


def test_fingerprint_changes_with_any_image(copy):
    table = dataset.read_ham10000(copy)
    before = dataset.fingerprint(table)
    assert dataset.fingerprint(table.sample(frac=1, random_state=0)) == before
    with table["path"][0].open("ab") as file:
        file.write(b"x")
    assert dataset.fingerprint(table) != before


def test_split_of_the_real_data(real_data):
    table = dataset.split(dataset.read_ham10000(real_data))
    assert len(table) == 10015
    assert (table.groupby("lesion_id")["fold"].nunique() == 1).all()
    assert table["fold"].value_counts()[dataset.HOLDOUT] == 1490
