import itertools

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import call
from pictures import encoded

from skin_cancer.data import dataset, overlap, sample
from skin_cancer.errors import DatasetError

HEIGHT = 420  # above the label that all drawings share


def drawn(code, seed, view=0, artefacts=()):
    return sample.draw(code, seed, view, artefacts).image[:HEIGHT]


def turned(image, angle=40, zoom=1.0):
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, zoom)
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


def compressed(image, quality=40):
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def reduced(image, side=84):
    zoom = side / min(image.shape[:2])
    return cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)


CHANGES = {
    "turned": turned,
    "cropped": lambda image: image[60:360, 100:420],
    "zoomed": lambda image: turned(image, 0, 2.0),
    "recoloured": lambda image: (image * [0.7, 0.9, 1.1] + 8).clip(0, 255).astype(np.uint8),
    "compressed": compressed,
    "reduced": reduced,
    "turned, zoomed and compressed": lambda image: compressed(turned(image, 130, 1.5)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("code", ["MEL", "NV", "BCC", "DF"])
def test_a_changed_copy_is_found(code, change):
    image = drawn(code, 5)
    copy = CHANGES[change](image)
    assert overlap.inliers(overlap.features(image), overlap.features(copy)) >= overlap.LINK_INLIERS


def test_another_photograph_is_found():
    one, other = (overlap.features(drawn("MEL", 5, view, ("hair",))) for view in (0, 1))
    assert overlap.inliers(one, other) >= overlap.LINK_INLIERS


def test_other_lesions_of_the_same_kind_are_hardly_ever_taken_for_one():
    """Two of these nevi agree by chance at 11 places: a few false pairs are the price of recall."""
    counts = []
    for artefacts in [(), *((name,) for name in sample.ARTEFACTS)]:
        found = [overlap.features(drawn("NV", seed, 0, artefacts)) for seed in range(8)]
        counts += [overlap.inliers(*pair) for pair in itertools.combinations(found, 2)]
    assert np.mean(np.array(counts) >= overlap.LINK_INLIERS) < 0.02
    assert max(counts) < 1.5 * overlap.LINK_INLIERS


def test_the_dark_edge_of_the_lens_has_no_features():
    image = drawn("NV", 5)
    height, width = image.shape[:2]
    lens = np.zeros((height, width), np.uint8)
    cv2.circle(lens, (width // 2, height // 2), height // 2, 1, -1)
    zoom = overlap.SIDE / height
    centre = zoom * np.array([width, height]) / 2
    places = overlap.features(image * lens[..., None])["place"]
    assert len(places)
    assert np.hypot(*(places - centre).T).max() < overlap.SIDE / 2 - overlap.MARGIN / 2


@pytest.mark.parametrize("value", [0, 128])
def test_an_image_without_features_agrees_with_none(value):
    empty = overlap.features(np.full((84, 84, 3), value, np.uint8))
    full = overlap.features(drawn("NV", 5))
    assert len(empty) == 0
    assert overlap.inliers(empty, full) == overlap.inliers(full, empty) == 0


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Ten lesions, two of them in another archive too, and one twice in the first."""
    folder = tmp_path_factory.mktemp("archives")
    rows = []

    def add(image_id, lesion_id, archive, image, diagnosis="NV"):
        path = folder / f"{image_id}.jpg"
        path.write_bytes(encoded(image))
        rows.append((image_id, lesion_id, diagnosis, archive, path))

    for seed in range(10):
        add(f"A{seed}", f"LA{seed}", "one", drawn("NV", seed))
    add("A0again", "LA0", "one", turned(drawn("NV", 0)))
    add("A1other", "LAother", "one", turned(drawn("NV", 1), 90))
    add("B2", "LB2", "two", reduced(drawn("NV", 2)))
    add("B3", "LB3", "two", compressed(drawn("NV", 3, view=1)), "MEL")
    columns = ["image_id", "lesion_id", "diagnosis", "archive", "path"]
    return pd.DataFrame(rows, columns=columns)


def pairs_of(table, folder):
    return overlap.find(table, overlap.read_features(table, folder))


def test_pairs_of_other_lesion_ids_are_told(archives, tmp_path):
    pairs = pairs_of(archives, tmp_path)
    told = pairs.set_index(["image_a", "image_b"]).sort_index()
    assert list(told.index) == [("A1", "A1other"), ("A2", "B2"), ("A3", "B3")]
    assert told["agree"].tolist() == [True, True, False]
    assert told["lesion_b"].tolist() == ["LAother", "LB2", "LB3"]
    assert told["archive_b"].tolist() == ["one", "two", "two"]
    assert (told["inliers"] >= overlap.LINK_INLIERS).all()
    assert overlap.summary(pairs)["pairs"].to_dict() == {("one", "one"): 1, ("one", "two"): 2}


def test_order_of_the_rows_changes_nothing_but_sides(archives, tmp_path):
    def told(table):
        pairs = pairs_of(table, tmp_path)
        return {frozenset(pair) for pair in zip(pairs["image_a"], pairs["image_b"], strict=True)}

    assert told(archives) == told(archives[::-1]) == told(pd.concat([archives, archives]))


def test_features_of_unchanged_files_are_not_computed_again(archives, tmp_path, monkeypatch):
    first = overlap.read_features(archives, tmp_path)
    computed = []
    real = overlap.features
    monkeypatch.setattr(overlap, "features", lambda image: computed.append(1) or real(image))
    again = overlap.read_features(archives, tmp_path)
    assert not computed
    assert all(map(np.array_equal, first, again))
    changed = tmp_path / "changed.jpg"
    changed.write_bytes(encoded(drawn("DF", 1)))
    overlap.read_features(archives.assign(path=[changed, *archives["path"][1:]]), tmp_path)
    assert len(computed) == 1


def test_known_pairs_measure_recall(archives, tmp_path):
    found = overlap.read_features(archives, tmp_path)
    shares = overlap.recall(archives, found)
    assert shares["one"] == 1
    assert np.isnan(shares["two"])


def test_matches_are_where_the_similarity_puts_them():
    image = drawn("MEL", 5)
    one, other = overlap.matches(overlap.features(image), overlap.features(image[:, ::-1][::-1]))
    assert len(one) == len(other) >= overlap.LINK_INLIERS
    zoom = overlap.SIDE / min(image.shape[:2])
    corner = zoom * np.array(image.shape[1::-1])
    assert np.median(abs(corner - one - other)) < overlap.TOLERANCE


def test_disguised_lesions_are_found_again_and_no_others(tmp_path):
    table = dataset.read(sample.sample_folder())
    disguised = overlap.disguised(table, 40)
    assert disguised["lesion"].nunique() == 40
    assert disguised["lesion_id"].is_unique
    assert (disguised["archive"] == overlap.OTHER).sum() == len(disguised) - 40
    pairs = pairs_of(disguised, tmp_path)
    counts = overlap.found_again(pairs, disguised)
    assert counts["known"] == sum(n * (n - 1) // 2 for n in disguised["lesion"].value_counts())
    assert counts["false"] == 0
    assert counts["found"] == len(pairs) > 0.8 * counts["known"]
    wrong = pairs.assign(image_b=disguised["image_id"].iloc[0])
    assert overlap.found_again(wrong, disguised)["false"] > 0.8 * len(pairs)


def test_pairs_are_shown_side_by_side(archives, tmp_path):
    found = overlap.read_features(archives, tmp_path)
    pairs = overlap.find(archives, found)
    shown = overlap.side_by_side(pairs, archives, found)
    assert len(shown["images"]) == 2 * len(pairs)
    first, last = pairs.iloc[0], pairs.iloc[-1]
    assert shown["titles"][0] == f"{first.archive_a}: {first.diagnosis_a}"
    assert shown["titles"][-1] == f"{last.archive_b}: {last.diagnosis_b}; {last.inliers} inliers"
    for image, points in zip(shown["images"], shown["points"], strict=True):
        assert len(points) >= overlap.LINK_INLIERS
        assert (points <= image.shape[1::-1]).all()
        assert points.max() > max(image.shape) / 2
    assert len(overlap.side_by_side(pairs, archives, found, 2)["images"]) == 4


def test_archives_without_a_lesion_in_common(archives, tmp_path):
    pairs = pairs_of(archives.iloc[4:10], tmp_path)
    assert len(pairs) == 0
    assert list(pairs) == list(pairs_of(archives, tmp_path))


def test_a_damaged_image_is_named(archives, tmp_path):
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"damaged\.jpg cannot be used: .* run again"):
        overlap.read_features(archives.assign(path=damaged), tmp_path / "features")


def test_an_unusable_folder_is_named(archives, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot be written"):
        overlap.read_features(archives, tmp_path / "file" / "features")


def test_the_command_writes_pairs_and_says_what_is_absent(ham10000, tmp_path):
    done = call("data.overlap", f"--data={ham10000}", f"--output={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "images of one lesion id" in done.stdout
    assert {"image_a", "image_b", "inliers"} < set(pd.read_csv(tmp_path / "pairs.csv"))
    done = call("data.overlap", f"--data={ham10000},{tmp_path / 'absent'}", f"--output={tmp_path}")
    assert done.returncode == 1
    assert "There is no folder" in done.stderr


@pytest.mark.parametrize(("change", "least"), [(lambda image: image, 0.85), (reduced, 0.5)])
def test_recall_on_known_pairs_of_real_lesions(real_data, change, least):
    table = dataset.read(real_data)
    several = table[table.groupby("lesion_id")["image_id"].transform("size") > 1]
    lesions = several["lesion_id"].drop_duplicates().sample(150, random_state=0)
    chosen = several[several["lesion_id"].isin(lesions)]
    found = [overlap.features(change(dataset.read_image(path))) for path in chosen["path"]]
    assert overlap.recall(chosen, found).iloc[0] > least
