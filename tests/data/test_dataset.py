import hashlib
import math
import re
import shutil
import subprocess
import sys

import cv2
import pandas as pd
import pytest
from conftest import UNPRIVILEGED
from pictures import encoded, lesion, write_isic2019

from skin_cancer.data import dataset, splits
from skin_cancer.data.checked import EXAMPLES, NONE_OF_OURS
from skin_cancer.data.levelling import BCN, CONTROL
from skin_cancer.data.reading import Reading
from skin_cancer.data.sample import MASKS
from skin_cancer.errors import DatasetError


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
    assert "skin_cancer.data.download" in message


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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_a_table_in_another_encoding(copy, encoding):
    before, path = dataset.read(copy), copy / "HAM10000_metadata.csv"
    path.write_bytes(path.read_text().replace("back", "Rücken").encode(encoding))
    table = dataset.read(copy)
    assert (
        table["localization"].tolist() == before["localization"].replace("back", "Rücken").tolist()
    )
    assert table.drop(columns="localization").equals(before.drop(columns="localization"))


def test_a_table_in_an_encoding_that_is_not_read(copy):
    path = copy / "HAM10000_metadata.csv"
    path.write_bytes(path.read_text().encode("cp037"))
    with pytest.raises(DatasetError, match=r"metadata\.csv (cannot be read|names no images)"):
        dataset.read(copy)


def as_png(path):
    cv2.imwrite(str(path.with_suffix(".PNG")), cv2.imread(str(path)))
    path.unlink()


def to_one_folder(path):
    (path.parents[1] / "images").mkdir(exist_ok=True)
    path.rename(path.parents[1] / "images" / path.name)


def deeper(path):
    place = path.parents[1] / "clinic" / path.stem[-1] / path.name
    place.parent.mkdir(parents=True, exist_ok=True)
    path.rename(place)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(",", ";"),
        lambda text: "sep=;\n" + text.replace(",", ";"),
        lambda text: text + ",,,,,,,\n\n",
        lambda text: re.sub(r"^(\w+),(\w+),(\w+)", r"\1,\2.jpg,\3", text, flags=re.M),
        lambda text: re.sub(r"^(\w+),(\w+),(\w+)", r"\1 , \2,\3 ", text, flags=re.M),
        lambda text: re.sub(r"^(H\w+,\w+),(\w+)", lambda row: row[0].upper(), text, flags=re.M),
    ],
    ids=["semicolons", "sep=", "empty rows", "ids with ending", "blanks", "capitals"],
)
def test_a_table_as_people_save_it_reads_the_same(copy, change):
    before, path = dataset.read(copy), copy / "HAM10000_metadata.csv"
    text = change(path.read_text())
    assert text != path.read_text()
    path.write_text(text.replace("image_id.jpg", "image_id"))
    assert dataset.read(copy).equals(before)


@pytest.mark.parametrize(
    "move",
    [lambda path: path.rename(path.with_suffix(".JPEG")), as_png, to_one_folder, deeper],
    ids=["jpeg", "png", "one folder", "nested"],
)
def test_images_are_found_wherever_they_lie_and_however_they_end(copy, move):
    before = dataset.read(copy)
    for path in sorted(copy.glob("HAM10000_images_part_*/*.jpg")):
        move(path)
    table = dataset.read(copy)
    assert table.drop(columns="path").equals(before.drop(columns="path"))
    assert [path.stem for path in table["path"]] == list(table["image_id"])


def test_two_different_images_of_one_id_are_refused(copy):
    [first, second, *_] = sorted(copy.glob("HAM10000_images_part_1/*.jpg"))
    shutil.copy(first, copy / first.name)
    second.rename(second.with_suffix(".jpeg"))
    table = dataset.read(copy)  # the same image twice is one
    assert table["path"].map(lambda path: path.stem).is_unique
    as_png(copy / first.name)
    with pytest.raises(DatasetError, match=rf"{first.stem}\.\w+ are different images of one id"):
        dataset.read(copy)


def test_in_other_folders_too_an_image_that_no_line_names_is_told(copy):
    for path in sorted(copy.glob("HAM10000_images_part_*/*.jpg")):
        to_one_folder(path)
    edit(copy, lambda table: table.drop(index=3))
    with pytest.raises(DatasetError, match="that no line of the table names: ISIC_0000003"):
        dataset.read(copy)


def test_a_table_whose_name_is_in_another_case(copy):
    before = dataset.read(copy)
    (copy / "HAM10000_metadata.csv").rename(copy / "ham10000_METADATA.CSV")
    assert dataset.read(copy).equals(before)


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
    code = "import sys; from skin_cancer.data import dataset; dataset.read(sys.argv[1])"
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
    table = pd.DataFrame(rows, columns=["lesion_id", "image_id", "diagnosis"])
    return table.assign(archive="HAM10000", apart=None)


def test_no_lesion_is_ever_split():
    for seed in range(20):
        parts = splits.split(many_lesions(), seed).groupby("lesion_id")["fold"].nunique()
        assert (parts == 1).all()


def test_split_is_stratified():
    lesions = splits.split(many_lesions()).drop_duplicates("lesion_id")
    counts = lesions.groupby(["fold", "diagnosis"]).size().unstack()
    assert counts.loc[splits.HOLDOUT].tolist() == [3, 9, 45]
    assert (counts.loc[0:4].max() - counts.loc[0:4].min() <= 1).all()


def test_split_depends_on_lesions_and_seed_alone():
    table = many_lesions()
    shuffled = table.sample(frac=1, random_state=1)
    assert splits.split(shuffled).sort_index().equals(splits.split(table))
    assert not splits.split(table, seed=1).equals(splits.split(table))


def test_too_few_lesions_to_split():
    table = many_lesions()
    with pytest.raises(DatasetError, match="'DF': 6"):
        splits.split(table[~table["lesion_id"].isin([f"L{i}" for i in range(366, 380)])])


def test_milk10k_as_published(archives):
    table = dataset.read(archives[2])
    assert len(table) == 88
    assert table["image_id"].str.startswith("ISIC_8").all()  # no close-up
    assert table["lesion_id"].str.startswith("IL_").all()
    assert set(table["dataset"]) == set(table["archive"]) == {"MILK10k"}
    assert set(table["dx_type"]) == {"histopathology"}
    assert sorted(set(table["skin_tone"])) == [0, 1, 2, 3, 4, 5]
    assert set(table["hair"]) == {0.25}
    apart = table["apart"].notna()
    assert set(table["apart"][apart]) == {NONE_OF_OURS}
    assert set(table["diagnosis"][apart]) == {"BEN_OTH", "INF", "MAL_OTH"}
    assert set(table["diagnosis"][~apart]) == set(dataset.codes(table))


def test_milk10k_without_its_images(archives, tmp_path):
    copy = shutil.copytree(archives[2], tmp_path / "copy")
    (copy / "MILK10k_Training_Metadata.csv").unlink()
    with pytest.raises(DatasetError, match=r"lacks MILK10k_Training_Metadata\.csv"):
        dataset.read(copy)


def test_an_scc_of_isic_2019_may_be_bowens_disease(archives):
    table = dataset.read(archives)
    either = table[table["alternative"].notna()]
    assert len(either) == 8
    kinds = either[["archive", "diagnosis", "alternative"]].drop_duplicates()
    assert kinds.values.tolist() == [["ISIC 2019", "SCC", "AKIEC"]]


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("isic2018_without_groupings", "ISIC2018_Task3_Training_LesionGroupings.csv"),
        ("isic2019_without_metadata", "ISIC_2019_Training_Metadata.csv"),
    ],
)
def test_lesions_that_are_not_told_are_refused(tmp_path, case, name):
    if case.startswith("isic2019"):
        write_isic2019(tmp_path)
        (tmp_path / name).unlink()
    else:
        pictures(tmp_path / "ISIC2018_Task3_Training_Input", ["ISIC_1"])
        truth(
            tmp_path / "ISIC2018_Task3_Training_GroundTruth.csv", [["ISIC_1", 1, *[0] * 6]], SEVEN
        )
    with pytest.raises(DatasetError, match=f"lacks {name}") as error:
        dataset.read(tmp_path)
    assert f"Get it from https://isic-challenge-data.s3.amazonaws.com/{case[4:8]}/{name}" in str(
        error.value
    )
    table = dataset.read(tmp_path, Reading(images_as_lesions=True))
    assert table["lesion_id"].tolist() == table["image_id"].tolist()


def test_several_archives_are_one_dataset(archives):
    table = dataset.read(archives)
    assert table["archive"].value_counts().to_dict() == {
        "HAM10000": len(dataset.read(archives[0])),
        "ISIC 2019": 64,
        "MILK10k": 88,
    }
    assert table.equals(dataset.read(archives[::-1]))
    assert table["image_id"].is_monotonic_increasing
    assert dataset.title(table) == "HAM10000, ISIC 2019, MILK10k"


def test_an_image_in_several_archives_is_read_once(archives, tmp_path):
    write_isic2019(tmp_path, first=60)
    ids = dataset.read(archives[0])["image_id"]
    table = dataset.read([tmp_path, archives[0]]).set_index("image_id")
    assert set(table.loc[ids, "archive"]) == {"HAM10000"}
    assert table["archive"].value_counts()["ISIC 2019"] == 64 - sum(ids >= "ISIC_0000060")


def test_folders_may_be_named_in_a_list_or_with_commas(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    assert dataset.data_folder([str(folder) for folder in folders]) == folders
    assert dataset.data_folder(f"{folders[0]},{folders[1]}") == folders
    odd = tmp_path / "one, with a comma"
    odd.mkdir()
    assert dataset.data_folder(str(odd)) == odd


def test_examples_are_in_no_training(tmp_path):
    example = min(EXAMPLES)
    write_isic2019(tmp_path)
    for name in ("GroundTruth", "Metadata"):
        path = tmp_path / f"ISIC_2019_Training_{name}.csv"
        path.write_text(path.read_text().replace("ISIC_0000001,", f"{example}_downsampled,"))
    images = tmp_path / "ISIC_2019_Training_Input"
    (images / "ISIC_0000001.jpg").rename(images / f"{example}_downsampled.jpg")
    table = splits.split(dataset.read(tmp_path))
    assert table.loc[table["fold"] == splits.APART, "image_id"].tolist() == [
        f"{example}_downsampled"
    ]


def write_bcn(folder, sides):
    """Write ISIC 2019 with lesions of BCN_20000 whose images have these sides, by diagnosis."""
    write_isic2019(folder)
    path = folder / "ISIC_2019_Training_Metadata.csv"
    table = pd.read_csv(path)
    table["lesion_id"] = [f"BCN_{i:07d}" for i in range(len(table))]
    table.to_csv(path, index=False)
    truth = pd.read_csv(folder / "ISIC_2019_Training_GroundTruth.csv").set_index("image")
    for image, code in truth.idxmax(axis=1).items():
        side = sides.get(image, sides.get(code, 48))
        file = folder / "ISIC_2019_Training_Input" / f"{image}.jpg"
        file.write_bytes(encoded(lesion(side, side)))


def test_bcn_is_levelled_where_size_tells_melanomas(tmp_path):
    write_bcn(tmp_path, {"MEL": 96, "ISIC_0000002": 48, "ISIC_0000010": 96})
    table = splits.split(dataset.read(tmp_path)).set_index("image_id")
    assert set(table["dataset"]) == {BCN}
    assert set(table["level"]) == {48}
    controls = table.index[table["apart"] == CONTROL].tolist()
    assert controls == ["ISIC_0000002", "ISIC_0000010"]
    assert set(table.loc[controls, "fold"]) == {splits.APART}
    sizes = {dataset.read_image(row.path, row.level).shape for row in table.itertuples()}
    assert sizes == {(48, 48, 3)}


def test_bcn_stays_as_published_where_all_is_of_one_size(tmp_path):
    write_bcn(tmp_path, {"MEL": 48})
    table = dataset.read(tmp_path)
    assert set(table["level"]) == {0}
    assert table["apart"].isna().all()


def test_each_archive_is_split_by_itself(archives):
    alone = splits.split(dataset.read(archives[0])).set_index("image_id")["fold"]
    joined = splits.split(dataset.read(archives)).set_index("image_id")
    assert (joined.loc[alone.index, "fold"] == alone).all()
    lesions = joined[joined["archive"] == "MILK10k"].drop_duplicates("lesion_id")
    assert (lesions["fold"] == splits.APART).sum() == 24
    assert (lesions["fold"] == splits.HOLDOUT).sum() == math.ceil(0.3 * 64)


@pytest.fixture
def parted():
    """Lesions of one fold each, and their folds without a link."""
    table = many_lesions()
    folds = splits.split(table).drop_duplicates("lesion_id").set_index("lesion_id")["fold"]
    return table, {fold: folds.index[folds == fold].tolist() for fold in sorted(set(folds))}


def folds_with(table, links):
    return splits.split(table, links=links).drop_duplicates("lesion_id").set_index("lesion_id")


def test_linked_lesions_go_to_the_fold_of_the_first(parted):
    table, lesions = parted
    chain = [lesions[3][0], lesions[1][0], lesions[0][0]]
    found = folds_with(table, [(chain[0], chain[1]), (chain[2], chain[1])])
    first = min(chain)
    assert set(found.loc[chain, "fold"]) == {k for k in lesions if first in lesions[k]}
    assert set(found.loc[chain, "group"]) == {first}
    others = found.drop(index=chain)
    assert (others["fold"] == folds_with(table, []).drop(index=chain)["fold"]).all()


def test_what_is_linked_to_the_holdout_leaves_training(parted):
    table, lesions = parted
    held, other = lesions[splits.HOLDOUT][:2]
    links = [(lesions[2][0], held), (lesions[4][0], lesions[2][0]), (held, other)]
    found = folds_with(table, links)["fold"]
    assert found[[held, other]].tolist() == [splits.HOLDOUT] * 2
    assert found[[lesions[2][0], lesions[4][0]]].tolist() == [splits.LINKED] * 2


def test_what_is_linked_to_what_no_network_may_learn_is_not_learnt(parted):
    table, lesions = parted
    table.loc[table["lesion_id"] == lesions[0][0], "apart"] = CONTROL
    found = folds_with(table, [(lesions[0][0], lesions[1][0])])["fold"]
    assert found[[lesions[0][0], lesions[1][0]]].tolist() == [splits.APART] * 2


def test_links_are_read_from_pairs_of_images(parted, tmp_path):
    table = parted[0]
    rows = [("I1-0", "I9-0", 10), ("I1-0", "I1-1", 99), ("I2-0", "I3-0", 9), ("I4-0", "gone", 50)]
    path = tmp_path / "pairs.csv"
    pd.DataFrame(rows, columns=["image_a", "image_b", "inliers"]).to_csv(path, index=False)
    assert splits.read_links(path, table) == [("L1", "L9")]
    with pytest.raises(DatasetError, match="is no table of image_a, image_b and inliers"):
        splits.read_links(tmp_path / "nowhere.csv", table)


def test_fingerprint_changes_with_any_image(copy):
    table = dataset.read(copy)
    before = dataset.fingerprint(table)
    assert dataset.fingerprint(table.sample(frac=1, random_state=0)) == before
    with table["path"][0].open("ab") as file:
        file.write(b"x")
    assert dataset.fingerprint(table) != before


def test_split_of_the_real_data(real_data):
    table = splits.split(dataset.read(real_data))
    assert len(table) == 10015
    assert (table.groupby("lesion_id")["fold"].nunique() == 1).all()
    assert table["fold"].value_counts()[splits.HOLDOUT] == 1490


def test_the_holdout_of_ham10000_is_what_it_was_whatever_else_is_read(real_archives):
    table = splits.split(dataset.read(real_archives))
    held = table[(table["fold"] == splits.HOLDOUT) & (table["archive"] == "HAM10000")]
    lesions = sorted(set(held["lesion_id"]))
    assert len(lesions) == 1121
    assert hashlib.sha256("\n".join(lesions).encode()).hexdigest().startswith("73a08a0966c9d3e6")


def test_controls_of_the_real_data(real_archives):
    table = dataset.read(real_archives)
    controls = table[table["apart"] == CONTROL]
    assert (controls["diagnosis"] == "MEL").sum() == 10
    assert (controls["diagnosis"] != "MEL").sum() == 66
    assert (table["apart"] == NONE_OF_OURS).sum() == 87


def test_too_few_lesions_are_said_without_a_split(ham10000):
    table = dataset.read(ham10000)
    splits.check(table)
    first = table[table["diagnosis"] == "DF"].index[:1]
    few = table[(table["diagnosis"] != "DF") | table.index.isin(first)]
    for refuses in (splits.check, splits.split):
        with pytest.raises(DatasetError, match=r"Too few lesions to split: \{'DF': 1\}"):
            refuses(few)
