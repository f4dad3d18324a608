import re

import pytest
from conftest import ROOT
from pictures import write_ham10000, write_isic2019, write_milk10k

from skin_cancer.data import checked, credits, dataset, inventory, levelling, own
from skin_cancer.diagnoses import TAXONOMY

PAGE = (ROOT / "docs" / "datasets.md").read_text()
OWN_PAGE = (ROOT / "docs" / "your-images.md").read_text()


def test_every_word_of_every_archive_stands_once_in_the_taxonomy():
    table = inventory.taxonomy(TAXONOMY)
    assert list(table) == list(TAXONOMY)
    for archive, words in TAXONOMY.items():
        told = {
            word: meaning
            for meaning, cell in table[archive].items()
            for word in cell.split("; ")
            if word
        }
        assert told == {
            word: " or ".join(meant) or checked.NONE_OF_OURS for word, meant in words.items()
        }


def rows_of_ours(page):
    lines = re.search(r"^\| ours \|(?:.*\n\|)+.*", page, re.MULTILINE).group().splitlines()
    header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return header, rows


def test_the_page_of_the_datasets_has_the_same_taxonomy():
    table = inventory.taxonomy().reset_index()
    assert rows_of_ours(PAGE) == (list(table), table.to_numpy().tolist())


def test_the_page_of_own_images_has_the_same_names():
    table = inventory.taxonomy([own.OWN]).reset_index()
    assert rows_of_ours(OWN_PAGE)[1] == table.to_numpy().tolist()


@pytest.mark.parametrize("ours", ["image_id", "dx", "lesion_id", "patient_id"])
def test_the_page_of_own_images_names_every_column_that_is_understood(ours):
    for name in own.SYNONYMS[ours]:
        assert f"`{name}`" in OWN_PAGE


@pytest.mark.parametrize("archive", inventory.PUBLISHED)
def test_the_page_describes_every_archive_with_its_licence(archive):
    section = re.search(rf"^## {archive}\n(.+?)^## ", PAGE, re.MULTILINE | re.DOTALL).group(1)
    licence = re.search(r"CC BY-NC( 4\.0)?", credits.BY_NAME[archive].licence).group()
    assert f"**Licence**: {licence}" in section
    assert "**Get it**" in section


def test_the_page_says_why_images_are_kept_apart():
    for reason in inventory.REASONS:
        assert f"- **{reason}**: " in PAGE
    assert set(inventory.REASONS) == {
        checked.NONE_OF_OURS,
        checked.EXAMPLE,
        levelling.CONTROL,
    }
    assert f"{len(checked.EXAMPLES)} images of the ISIC Archive" in PAGE


def test_images_and_lesions_are_counted_by_archive_and_source(tmp_path):
    write_ham10000(tmp_path / "ham")
    write_isic2019(tmp_path / "isic", first=5_000_000)
    write_milk10k(tmp_path / "milk")
    table = dataset.read([tmp_path / "ham", tmp_path / "isic", tmp_path / "milk"])
    counts = inventory.sources(table)
    assert counts["images"].sum() == len(table)
    assert counts["lesions"].to_dict() == {
        ("HAM10000", "synth_0"): 28,
        ("HAM10000", "synth_1"): 28,
        ("ISIC 2019", "MSK"): 32,
        ("ISIC 2019", "unknown"): 32,
        ("MILK10k", "MILK10k"): 88,
    }
    assert counts["without a lesion id"].tolist() == [0, 0, 32, 0, 0]
    assert counts["partial label"].tolist() == [0, 0, 4, 4, 0]
    assert counts["apart: none of our diagnoses"].tolist() == [0, 0, 0, 0, 24]
    assert counts["apart: example"].sum() == counts["levelled"].sum() == 0


def test_what_is_levelled_or_an_example_is_counted(tmp_path):
    write_isic2019(tmp_path)
    table = dataset.read(tmp_path).assign(dataset="BCN_20000")
    table.loc[:9, "level"] = 84
    table.loc[:2, "apart"] = checked.EXAMPLE
    table.loc[3:4, "apart"] = levelling.CONTROL
    counts = inventory.sources(table).loc[("ISIC 2019", "BCN_20000")]
    assert counts["levelled"] == 10
    assert counts["apart: example"] == 3
    assert counts["apart: control of sharpness"] == 2
