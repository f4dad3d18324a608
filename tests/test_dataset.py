import shutil
import subprocess
import sys

import pandas as pd
import pytest
from conftest import UNPRIVILEGED
from pictures import encoded, lesion, write_isic2019

from skin_cancer import dataset
from skin_cancer.errors import DatasetError
from skin_cancer.sample import MASKS


@pytest.fixture
def copy(ham10000, tmp_path):
    return shutil.copytree(ham10000, tmp_path / "data")


def edit(folder, change):
    path = folder / "HAM10000_metadata.csv"
    table = pd.read_csv(path)
    change(table).to_csv(path, index=False)


def test_read_maps_codes_and_finds_images_in_both_parts(ham10000):
    table = dataset.read(ham10000)
    assert table["path"].map(lambda path: path.is_file()).all()
    assert table["path"].map(lambda path: path.parent.name).nunique() == 2
    raw = pd.read_csv(ham10000 / "HAM10000_metadata.csv").sort_values("image_id")
    assert set(zip(raw["dx"], table["diagnosis"], strict=True)) >= {("mel", "MEL"), ("nv", "NV")}
    assert table["image_id"].is_monotonic_increasing


def test_one_error_lists_all_that_is_wrong(copy):
    (copy / "HAM10000_images_part_1" / "ISIC_0000000.jpg").unlink()

    def spoil(table):
        table.loc[1, "dx"] = "wart"
        table.loc[3, "image_id"] = table.loc[2, "image_id"]
        return table

    edit(copy, spoil)
    with pytest.raises(DatasetError) as error:
        dataset.read(copy)
    message = str(error.value)
    assert "absent: ISIC_0000000" in message
    assert "without a known diagnosis: wart" in message
    assert "stand twice: ISIC_0000002" in message
    assert "more than one diagnosis: HAM_0000000" in message
    assert "skin_cancer.download" in message


def test_an_image_that_no_line_names(copy):
    edit(copy, lambda table: table.drop(index=3))
    with pytest.raises(DatasetError, match="that no line of the table names: ISIC_0000003"):
        dataset.read(copy)


def test_hidden_files_are_no_images(copy):
    (copy / "HAM10000_images_part_1" / "._ISIC_0000000.jpg").write_bytes(b"from another system")
    dataset.read(copy)


def test_swapped_columns(copy):
    swapped = {"lesion_id": "image_id", "image_id": "lesion_id"}
    edit(copy, lambda table: table.rename(columns=swapped))
    with pytest.raises(DatasetError, match="named in the table but absent: HAM_0000000"):
        dataset.read(copy)
    edit(copy, lambda table: table.rename(columns={**swapped, "dx": "sex", "sex": "dx"}))
    with pytest.raises(DatasetError, match="without a known diagnosis: female"):
        dataset.read(copy)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1", "cp037"])
def test_a_table_in_another_encoding(copy, encoding):
    before, path = dataset.read(copy), copy / "HAM10000_metadata.csv"
    text = path.read_text().replace("back", "Rücken")
    path.write_bytes(text.encode(encoding))
    if encoding == "utf-8-sig":
        assert (
            dataset.read(copy)
            .drop(columns="localization")
            .equals(before.drop(columns="localization"))
        )
    else:
        with pytest.raises(DatasetError, match=r"metadata\.csv (cannot be read|names no images)"):
            dataset.read(copy)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "may not be read. Change its permissions"),
        ("HAM10000_metadata.csv", "HAM10000_metadata.csv cannot be read as a table"),
        (MASKS, f"that may not be read: {MASKS}\n"),
        ("HAM10000_images_part_1", "that may not be read: HAM10000_images_part_1\n"),
        (
            "HAM10000_images_part_2/ISIC_0000001.jpg",
            "that may not be read: HAM10000_images_part_2/ISIC_0000001.jpg\n",
        ),
    ],
)
def test_data_without_the_right_to_read_it(copy, name, words):
    code = "import sys; from skin_cancer import dataset; dataset.read(sys.argv[1])"
    command = [*UNPRIVILEGED, sys.executable, "-c", code, str(copy)]
    (copy / MASKS).mkdir()
    (copy / name).chmod(0)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert f"DatasetError: {copy}" in done.stderr
        assert words in done.stderr
    finally:
        (copy / name).chmod(0o700)


def test_long_lists_are_cut(copy):
    shutil.rmtree(copy / "HAM10000_images_part_2")
    with pytest.raises(DatasetError, match=r"ISIC_0000001, .* and \d+ more"):
        dataset.read(copy)


def test_empty_folder(tmp_path):
    with pytest.raises(DatasetError, match=r"holds none of HAM10000_metadata\.csv"):
        dataset.read(tmp_path)


def test_absent_folder(tmp_path):
    with pytest.raises(DatasetError, match="There is no folder"):
        dataset.read(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "lesion_id,image_id,dx\n", "\0\0\0"])
def test_useless_metadata(copy, content):
    (copy / "HAM10000_metadata.csv").write_text(content)
    with pytest.raises(DatasetError):
        dataset.read(copy)


def test_folder_without_images(copy):
    for part in (1, 2):
        shutil.rmtree(copy / f"HAM10000_images_part_{part}")
    with pytest.raises(DatasetError, match="no image file"):
        dataset.read(copy)


def test_data_folder_from_the_environment(monkeypatch):
    monkeypatch.setenv("ISIC_DATA_DIR", "somewhere")
    assert str(dataset.data_folder()) == "somewhere"
    assert str(dataset.data_folder("elsewhere")) == "elsewhere"
    assert dataset.data_folder("sample").name.startswith("sample-")
    monkeypatch.delenv("ISIC_DATA_DIR")
    with pytest.raises(DatasetError, match="ISIC_DATA_DIR"):
        dataset.data_folder()


def test_metadata_parted_by_tabs_reads_the_same(copy):
    before = dataset.read(copy)
    path = copy / "HAM10000_metadata.csv"
    table = pd.read_csv(path)
    path.unlink()
    table.to_csv(copy / "HAM10000_metadata.tab", index=False, sep="\t")
    assert dataset.read(copy).equals(before)


def test_unknown_details_are_missing(copy):
    def spoil(table):
        table["sex"] = table["sex"].astype(object)
        table.loc[0, ["sex", "localization"]] = "unknown"
        table.loc[1, "age"] = None
        return table.drop(columns="dataset")

    edit(copy, spoil)
    table = dataset.read(copy)
    assert table[["sex", "localization", "age"]].isna().sum().tolist() == [1, 1, 1]
    assert table["dataset"].isna().all()
    assert table["age"].dtype == float


def pictures(folder, ids):
    folder.mkdir(parents=True)
    for name in ids:
        (folder / f"{name}.jpg").write_bytes(encoded(lesion(96, 72)))


def truth(path, rows, columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=["image", *columns]).to_csv(path, index=False)


SEVEN = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]


def test_official_test_set_of_the_challenge(tmp_path):
    name = "ISIC2018_Task3_Test_GroundTruth"
    pictures(tmp_path / "ISIC2018_Task3_Test_Input", ["ISIC_2", "ISIC_1"])
    rows = [["ISIC_2", 0, 0, 0, 1, 0, 0, 0], ["ISIC_1", 1.0, 0, 0, 0, 0, 0, 0]]
    truth(tmp_path / name / f"{name}.csv", rows, SEVEN)
    table = dataset.read_test(tmp_path)
    assert table["diagnosis"].tolist() == ["MEL", "AKIEC"]
    assert table["lesion_id"].tolist() == ["ISIC_1", "ISIC_2"]
    assert dataset.title(table) == "ISIC 2018"


def test_a_truth_that_names_no_or_two_diagnoses_is_refused(tmp_path):
    pictures(tmp_path / "ISIC2018_Task3_Test_Input", ["ISIC_1", "ISIC_2", "ISIC_3"])
    rows = [["ISIC_1", 1, 1, *[0] * 5], ["ISIC_2", *[0] * 7], ["ISIC_3", 1, *[0] * 6]]
    truth(tmp_path / "ISIC2018_Task3_Test_GroundTruth.csv", rows, SEVEN)
    with pytest.raises(DatasetError, match="without a known diagnosis: ISIC_1, ISIC_2\n") as error:
        dataset.read_test(tmp_path)
    assert "ISIC_3" not in str(error.value)


def test_test_set_from_dataverse_keeps_lesions_and_details(sample):
    table = dataset.read_test(sample)
    assert dataset.title(table) == "synthetic sample"
    assert table["sex"].notna().any()
    assert table["mask"].notna().all()
    assert not set(table["image_id"]) & set(dataset.read(sample)["image_id"])


def test_training_set_of_the_challenge_with_its_lesions(tmp_path):
    name = "ISIC2018_Task3_Training_GroundTruth"
    pictures(tmp_path / "ISIC2018_Task3_Training_Input", ["ISIC_1", "ISIC_2"])
    truth(
        tmp_path / name / f"{name}.csv",
        [["ISIC_1", 0, 1, *[0] * 5], ["ISIC_2", 0, 1, *[0] * 5]],
        SEVEN,
    )
    groups = pd.DataFrame(
        {"image": ["ISIC_1", "ISIC_2"], "lesion_id": "HAM_1", "diagnosis_confirm_type": "histo"}
    )
    groups.to_csv(tmp_path / "ISIC2018_Task3_Training_LesionGroupings.csv", index=False)
    table = dataset.read(tmp_path)
    assert table["lesion_id"].tolist() == ["HAM_1", "HAM_1"]
    assert table["dx_type"].tolist() == ["histo", "histo"]


def test_isic_2019_has_eight_diagnoses(tmp_path):
    write_isic2019(tmp_path)
    table = dataset.read(tmp_path)
    assert dataset.codes(table) == ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC", "SCC")
    assert table["diagnosis"].value_counts()[list(dataset.codes(table))].tolist() == [8] * 8
    assert table["lesion_id"].tolist()[:3] == ["ISIC_0000000", "L1", "ISIC_0000002"]
    assert set(table["age"]) == {55}
    assert set(table["localization"]) == {"head/neck"}
    assert dataset.title(table) == "ISIC 2019"


def test_an_image_and_its_mask_have_one_size(sample):
    row = next(dataset.read(sample).itertuples())
    image, mask = dataset.read_pair(row)
    assert image.shape[:2] == mask.shape
    assert 0 < mask.mean() < 1


def test_an_image_without_a_mask(ham10000):
    assert dataset.read_pair(next(dataset.read(ham10000).itertuples()))[1] is None


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
    table = dataset.read(copy)
    before = dataset.fingerprint(table)
    assert dataset.fingerprint(table.sample(frac=1, random_state=0)) == before
    with table["path"][0].open("ab") as file:
        file.write(b"x")
    assert dataset.fingerprint(table) != before


def test_split_of_the_real_data(real_data):
    table = dataset.split(dataset.read(real_data))
    assert len(table) == 10015
    assert (table.groupby("lesion_id")["fold"].nunique() == 1).all()
    assert table["fold"].value_counts()[dataset.HOLDOUT] == 1490
