import shutil

import pandas as pd
import pytest
from conftest import call
from pictures import encoded, lesion

from skin_cancer.data import check, dataset, own, splits
from skin_cancer.data.checked import NONE_OF_OURS
from skin_cancer.data.reading import Reading, named_columns, reading_of
from skin_cancer.errors import DatasetError

EACH = Reading(images_as_lesions=True)
FOLDERS = {
    "melanoma": "MEL",
    "Naevi": "NV",
    "BCC": "BCC",
    "actinic_keratoses": "AKIEC",
    "Seborrhoeic keratosis": "BKL",
    "df": "DF",
    "Vascular Lesions": "VASC",
    "squamous cell carcinoma": "SCC",
}


def picture(path, number=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(lesion(96 + number, 72)))


def table(path, rows, **options):
    pd.DataFrame(rows).to_csv(path, index=False, **options)


def pictures(folder, names):
    for number, name in enumerate(names):
        picture(folder / name, number)


@pytest.mark.parametrize("above", ["", "train", "data/val"])
def test_a_folder_a_diagnosis(tmp_path, above):
    pictures(tmp_path / above, [f"{folder}/{code}.jpg" for folder, code in FOLDERS.items()])
    found = dataset.read(tmp_path, EACH).set_index("image_id")
    assert found["diagnosis"].to_dict() == {code: code for code in FOLDERS.values()}
    assert set(found["archive"]) == {own.OWN}
    assert dataset.codes(found) == ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC", "SCC")


def test_train_and_test_folders_and_folders_of_patients_within(tmp_path):
    pictures(tmp_path, ["train/nevus/a.jpg", "test/nevus/anna/b.png", "val/MEL/c.TIF"])
    found = dataset.read(tmp_path, EACH)
    assert found["diagnosis"].tolist() == ["NV", "NV", "MEL"]


def test_lesions_of_a_folder_a_diagnosis_are_told_or_asked_for(tmp_path):
    pictures(tmp_path, ["mel/a.jpg", "mel/b.jpg", "nv/c.jpg"])
    with pytest.raises(DatasetError, match=r"neither lesions nor patients.*--lesions=images"):
        dataset.read(tmp_path)
    assert dataset.read(tmp_path, EACH)["lesion_id"].tolist() == ["a", "b", "c"]
    table(tmp_path / "lesions.csv", {"image": ["a.jpg", "b.jpg", "c.jpg"], "lesion": [1, 1, 2]})
    assert dataset.read(tmp_path)["lesion_id"].tolist() == ["1", "1", "2"]


def test_a_table_of_lesions_that_names_an_absent_image(tmp_path):
    pictures(tmp_path, ["mel/a.jpg", "nv/b.jpg"])
    table(tmp_path / "lesions.csv", {"image_id": ["a", "b", "c"], "lesion_id": [1, 2, 3]})
    with pytest.raises(DatasetError, match="images named in the table but absent: c"):
        dataset.read(tmp_path)


EXPORT = {
    "isic_id": ["ISIC_1", "ISIC_2", "ISIC_3", "ISIC_4", "ISIC_5", "ISIC_6"],
    "lesion_id": ["IL_1", "IL_2", "IL_3", "IL_4", "IL_5", "IL_6"],
    "diagnosis_1": ["Benign", "Malignant", "Indeterminate", "Benign", "Malignant", "Benign"],
    "diagnosis_2": [
        "Benign melanocytic proliferations",
        "Malignant epidermal proliferations",
        "Indeterminate epidermal proliferations",
        "Cysts",
        "Malignant melanocytic proliferations (Melanoma)",
        None,
    ],
    "diagnosis_3": [
        "Nevus",
        "Squamous cell carcinoma, NOS",
        "Solar or actinic keratosis",
        "Trichilemmal or isthmic-catagen or pilar cyst",
        "Melanoma of a kind that is new",
        None,
    ],
    "diagnosis_4": ["Nevus, NOS, Dermal", None, None, None, None, None],
    "diagnosis_5": [None] * 6,
}


def test_an_export_of_the_isic_archive(tmp_path):
    pictures(tmp_path, [f"images/{name}.jpg" for name in EXPORT["isic_id"]])
    types = ["dermoscopic"] * 5 + ["clinical: close-up"]
    table(tmp_path / "metadata.csv", {**EXPORT, "image_type": types})
    found = dataset.read(tmp_path).set_index("image_id")
    assert found["diagnosis"].tolist()[:3] == ["NV", "SCC", "AKIEC"]
    assert found.loc["ISIC_2", "alternative"] == "AKIEC"
    assert found.loc["ISIC_4", "apart"] == NONE_OF_OURS
    assert found.loc["ISIC_5", "diagnosis"] == "MEL"
    assert found.loc["ISIC_6", "apart"] == own.NOT_DERMATOSCOPIC
    assert found["apart"].notna().sum() == 2
    assert set(found["archive"]) == {"ISIC Archive"}


def test_an_older_export_of_the_isic_archive(tmp_path):
    pictures(tmp_path, ["ISIC_1.jpg", "ISIC_2.jpg"])
    rows = {"isic_id": ["ISIC_1", "ISIC_2"], "diagnosis": ["seborrheic keratosis", "scar"]}
    table(tmp_path / "metadata.csv", {**rows, "lesion_id": ["IL_1", "IL_2"]})
    found = dataset.read(tmp_path)
    assert found["diagnosis"].tolist()[0] == "BKL"
    assert found["apart"].isna().tolist() == [True, False]


def test_isic_2020_where_a_benign_unknown_is_no_nevus(tmp_path):
    pictures(tmp_path, ["train/ISIC_1.jpg", "train/ISIC_2.jpg", "train/ISIC_3.jpg"])
    table(
        tmp_path / "train.csv",
        {
            "image_name": ["ISIC_1", "ISIC_2", "ISIC_3"],
            "patient_id": ["IP_1", "IP_1", "IP_2"],
            "lesion_id": ["IL_1", "IL_2", "IL_3"],
            "diagnosis": ["unknown", "nevus", "melanoma"],
            "benign_malignant": ["benign", "benign", "malignant"],
        },
    )
    found = dataset.read(tmp_path)
    assert found["apart"].tolist()[0] == NONE_OF_OURS
    assert dataset.codes(found) == ("MEL", "NV")
    assert found["patient_id"].tolist() == ["IP_1", "IP_1", "IP_2"]


def test_pad_ufes_20_is_read_with_a_warning(tmp_path):
    names = ["PAT_1_1_1.png", "PAT_2_1_1.png"]
    pictures(tmp_path, [f"imgs_part_1/{name}" for name in names])
    rows = {"patient_id": ["PAT_1", "PAT_2"], "lesion_id": [1, 2], "region": ["NOSE", "ARM"]}
    table(tmp_path / "metadata.csv", {**rows, "diagnostic": ["SCC", "SEK"], "img_id": names})
    with pytest.warns(UserWarning, match="photographs by smartphone"):
        found = dataset.read(tmp_path)
    assert found["diagnosis"].tolist() == ["SCC", "BKL"]
    assert found["alternative"].tolist()[0] == "AKIEC"
    assert found["localization"].tolist() == ["NOSE", "ARM"]


OURS = {"file": ["x/a.jpg", "b"], "what it is": ["Mole", "melanoma"], "case": ["7", "8"]}
COLUMNS = Reading(columns={"image": "file", "diagnosis": "what it is", "lesion": "case"})


def test_columns_are_named_by_parameter(tmp_path):
    pictures(tmp_path, ["a.jpg", "b.jpeg"])
    table(tmp_path / "cases.csv", OURS, sep=";", encoding="utf-16")
    found = dataset.read(tmp_path, COLUMNS)
    assert found["diagnosis"].tolist() == ["NV", "MEL"]
    assert found["lesion_id"].tolist() == ["7", "8"]
    other = Reading(columns={**COLUMNS.columns, "lesion": "lump"})
    with pytest.raises(DatasetError, match=r"no column 'lump'; it has file, what it is, case"):
        dataset.read(tmp_path, other)


def test_a_users_words_are_mapped_to_ours_and_to_the_users_own(tmp_path):
    pictures(tmp_path, ["Seb K/a.jpg", "wart/b.jpg", "Verruca/c.jpg", "Merkel/d.jpg", "nv/e.jpg"])
    recipe = {"lesions": "images", "diagnoses": "Seb K=BKL,wart,verruca=wart,Merkel cell carcinoma"}
    recipe["malignant"] = "Merkel cell carcinoma"
    with pytest.raises(DatasetError, match=r"unknown diagnoses: 'Merkel' \(1, first of d"):
        dataset.read(tmp_path, reading_of(recipe))
    recipe["diagnoses"] += ",Merkel=Merkel cell carcinoma"
    found = dataset.read(tmp_path, reading_of(recipe))
    assert found["diagnosis"].tolist() == ["BKL", "wart", "wart", "Merkel cell carcinoma", "NV"]
    assert dataset.codes(found) == ("NV", "BKL", "wart", "Merkel cell carcinoma")
    with pytest.raises(DatasetError, match="malignant='moon': name some of diagnoses"):
        reading_of({"diagnoses": "wart", "malignant": "moon"})


@pytest.mark.parametrize("ending", ["xlsx", "ods"])
def test_a_spreadsheet(tmp_path, ending):
    pictures(tmp_path, ["a.jpg", "b.jpeg"])
    pd.DataFrame(OURS).to_excel(tmp_path / f"cases.{ending}", index=False)
    assert dataset.read(tmp_path, COLUMNS)["diagnosis"].tolist() == ["NV", "MEL"]


def test_columns_as_they_are_written_in_the_shell():
    assert named_columns("image=file,lesion=the case") == {"image": "file", "lesion": "the case"}
    assert named_columns("") == {}
    for text in ("file", "image=", "colour=red"):
        with pytest.raises(DatasetError, match="image=NAME,diagnosis=NAME"):
            named_columns(text)


ROWS = {"image_id": ["a", "b", "c"], "lesion_id": ["1", "2", "3"], "diagnosis": ["mel", "nv", "nv"]}


@pytest.fixture
def labelled(tmp_path):
    pictures(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    table(tmp_path / "labels.csv", ROWS)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"diagnosis": ["mel", "nevis", "nv"]}, r"'nevis' \(1, first of b; did you mean 'nevus'"),
        ({"diagnosis": ["mel", None, "nv"]}, r"'no diagnosis' \(1, first of b"),
        ({"image_id": ["a", "b", "b"]}, r"stand twice in labels\.csv: line 4: b"),
        ({"image_id": ["a", "b", None]}, r"labels\.csv without an image id: line 4"),
        ({"lesion_id": ["1", "1", "3"]}, r"more than one diagnosis: 1 \(MEL, NV\)"),
        ({"image_id": ["a", "b", "d"]}, r"absent: d\n- image files .*: c"),
    ],
)
def test_what_is_ambiguous_is_refused_with_its_place(labelled, changed, words):
    table(labelled / "labels.csv", {**ROWS, **changed})
    with pytest.raises(DatasetError, match=words):
        dataset.read(labelled)


def test_one_image_under_two_diagnoses_is_refused(labelled):
    shutil.copy(labelled / "a.jpg", labelled / "b.jpg")
    with pytest.raises(DatasetError, match=r"two diagnoses: a\.jpg \(MEL\) = b\.jpg \(NV\)"):
        dataset.read(labelled)


def test_one_id_on_two_images_is_refused(labelled, tmp_path_factory):
    picture(labelled / "more" / "a.jpg", 7)
    with pytest.raises(DatasetError, match=r"a\.jpg are different images of one id"):
        dataset.read(labelled)
    (labelled / "more" / "a.jpg").unlink()
    other = tmp_path_factory.mktemp("other")
    picture(other / "melanoma" / "a.jpg", 7)
    with pytest.raises(DatasetError, match=r"are different images of one id, a\."):
        dataset.read([labelled, other], EACH)


def test_lesions_of_two_folders_that_have_one_id_and_two_diagnoses(labelled, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    picture(other / "d.jpg", 7)
    table(other / "labels.csv", {"image_id": ["d"], "lesion_id": ["1"], "diagnosis": ["nv"]})
    with pytest.raises(DatasetError, match=r"different diagnoses: 1 \(MEL, NV\)"):
        dataset.read([labelled, other])


def test_what_systems_add_is_passed_over(labelled):
    for name in ("@eaDir/a.jpg/SYNO_M.jpg", "__MACOSX/._a.jpg", ".thumbs/a.jpg", "._b.jpg"):
        picture(labelled / name, 9)
    assert dataset.read(labelled)["image_id"].tolist() == ["a", "b", "c"]


def test_two_tables_of_images_are_refused(labelled):
    shutil.copy(labelled / "labels.csv", labelled / "labels (copy).csv")
    with pytest.raises(DatasetError, match=r"several tables of images: labels \(copy\)\.csv, lab"):
        dataset.read(labelled)


def test_a_share_that_may_be_missing_is_left_out(labelled):
    (labelled / "c.jpg").rename(labelled / "d.jpg")
    with pytest.warns(UserWarning, match=r"Left out, images named in the table but absent: c"):
        found = dataset.read(labelled, Reading(missing=0.34))
    assert found["image_id"].tolist() == ["a", "b"]
    with pytest.raises(DatasetError, match="absent: c"):
        dataset.read(labelled, Reading(missing=0.3))


def test_images_without_any_label_are_refused(tmp_path):
    picture(tmp_path / "holiday" / "a.jpg")
    with pytest.raises(DatasetError, match=r"holds none of HAM10000_metadata\.csv.*melanoma, nev"):
        dataset.read(tmp_path, EACH)


def clinic(tmp_path, patients):
    """Make a folder of 40 melanomas and 60 nevi; each patient has a lesion of every other kind."""
    rows = [
        {
            "image_id": f"i{number}",
            "lesion_id": f"{number // patients}",
            "patient_id": f"p{number % patients}",
            "diagnosis": "melanoma" if number % 5 < 2 else "nevus",
        }
        for number in range(100)
    ]
    pictures(tmp_path, [f"{row['image_id']}.jpg" for row in rows])
    table(tmp_path / "labels.csv", rows)
    return dataset.read(tmp_path)


def test_no_patient_is_on_two_sides(tmp_path):
    found = splits.split(clinic(tmp_path, 35))
    assert found.groupby("patient_id")["fold"].nunique().max() == 1
    assert found["lesion_id"].nunique() == 100  # lesion 0 of one patient is not that of another
    assert splits.units(found) == {own.OWN: "patient"}
    assert set(found["fold"]) == {splits.HOLDOUT, *range(splits.FOLDS)}


def test_too_few_patients_to_split(tmp_path):
    with pytest.raises(DatasetError, match=r"Too few lesions.*as many patients"):
        splits.split(clinic(tmp_path, 6))


def test_the_check_names_every_broken_image(labelled):
    for name in ("a", "c"):
        (labelled / f"{name}.jpg").write_bytes(b"\xff\xd8\xff" + name.encode() * 99)
    done = call("data.check", str(labelled), f"--output={labelled / 'out'}")
    assert done.returncode != 0
    assert "2 of 3 images cannot be used" in done.stderr
    assert "a.jpg: " in done.stderr
    assert "c.jpg: " in done.stderr


def test_the_check_writes_the_table_and_finds_what_stands_twice(tmp_path, sample):
    drawn = dataset.read(sample).query("diagnosis in ['MEL', 'NV']")
    for row in drawn.itertuples():
        place = tmp_path / "in" / row.diagnosis / f"p{row.image_id}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(row.path, place)
    first = sorted((tmp_path / "in" / "NV").iterdir())[0]
    for number in range(8):
        shutil.copy(first, first.with_name(f"again{number}.jpg"))
    out = tmp_path / "out"
    done = call("data.check", str(tmp_path / "in"), "--lesions=images", f"--output={out}")
    assert done.returncode == 0, done.stderr
    assert f"{len(drawn) + 8} images of {len(drawn) + 8} lesions" in done.stdout
    assert "the same file under two names: 8, " in done.stdout
    assert f"again0 = {first.stem}" in done.stdout
    written = pd.read_csv(out / check.IMAGES)
    assert written["part"].value_counts()["holdout"] > 0
    pairs = pd.read_csv(out / check.PAIRS)
    assert {"image_a", "image_b", "inliers"} <= set(pairs)
    assert len(pairs) >= 8
