import cv2
import numpy as np
import pytest
from pictures import lesion

from skin_cancer.images import augmentation


@pytest.fixture(scope="module")
def scene():
    """A picture that no turn or mirror image leaves as it is."""
    image = lesion(240, 180)
    image[:60, :80] = (250, 20, 20)
    return image


def difference(one, other):
    """Mean absolute difference of two pictures."""
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


@pytest.mark.parametrize("size", [96, 512])
def test_augment_is_a_function_of_the_seed(scene, size):
    views = [augmentation.augment(scene, size, (1, 2, index)) for index in range(8)]
    assert all(view.shape == (size, size, 3) and view.dtype == np.uint8 for view in views)
    assert all((augmentation.augment(scene, size, (1, 2, i)) == views[i]).all() for i in range(8))
    assert all((views[0] != view).any() for view in views[1:])


@pytest.mark.parametrize("step", ["random_colour", "random_sharpness"])
def test_steps_are_functions_of_the_seed(scene, step):
    change = getattr(augmentation, step)
    assert all((change(scene, seed) == change(scene, seed)).all() for seed in range(4))
    assert any((change(scene, 0) != change(scene, seed)).any() for seed in range(1, 4))


@pytest.mark.parametrize("step", ["random_colour", "random_sharpness"])
def test_steps_keep_the_picture_recognisable(scene, step):
    rng = np.random.default_rng(0)
    changed = [getattr(augmentation, step)(scene, rng) for _ in range(20)]
    assert all(difference(view, scene) < 60 for view in changed)
    assert any((view != scene).any() for view in changed)


def test_sharpness_goes_both_ways(scene):
    def detail(image):
        return cv2.Laplacian(image, cv2.CV_32F).var()

    rng = np.random.default_rng(0)
    ratios = [detail(augmentation.random_sharpness(scene, rng)) / detail(scene) for _ in range(40)]
    assert min(ratios) < 0.5
    assert max(ratios) > 1.5


def test_crops_turn_mirror_and_zoom():
    half = np.zeros((200, 200, 3), np.uint8)
    half[:, 100:] = 200
    rng = np.random.default_rng(0)
    crops = [augmentation.random_crop(half, 64, rng) for _ in range(60)]
    across = [crop[:, :32].mean() - crop[:, 32:].mean() for crop in crops]
    down = [crop[:32].mean() - crop[32:].mean() for crop in crops]
    sides = np.array([across, down]).T
    assert (sides.min(axis=0) < -50).all()
    assert (sides.max(axis=0) > 50).all()


def test_crops_show_no_border(scene):
    rng = np.random.default_rng(0)
    bright = np.full_like(scene, 200)
    assert all((augmentation.random_crop(bright, 64, rng) == 200).all() for _ in range(50))


@pytest.mark.parametrize("strength", [0, 1, 3])
def test_any_strength_gives_a_picture(scene, strength):
    views = [augmentation.augment(scene, 64, seed, strength) for seed in range(20)]
    assert all(view.shape == (64, 64, 3) and view.dtype == np.uint8 for view in views)


def test_strength_widens_the_ranges(scene):
    def spread(strength):
        views = [augmentation.random_colour(scene, seed, strength) for seed in range(40)]
        return np.std([view.mean(axis=(0, 1)) for view in views], axis=0).mean()

    assert spread(0) < 1e-6
    assert spread(2) > 1.5 * spread(1)


def test_without_strength_colours_and_sharpness_stay():
    plain = np.full((90, 120, 3), (200, 150, 100), np.uint8)
    plain[::2] = (180, 130, 90)
    assert (augmentation.random_colour(plain, 0, 0) == plain).all()
    assert all((augmentation.random_sharpness(plain, s, 0) == plain).all() for s in range(10))


def test_damage_comes_as_often_as_asked(scene):
    square = scene[:180, :180]
    assert all((augmentation.random_damage(square, seed, 0) == square).all() for seed in range(20))
    damaged = [(augmentation.random_damage(square, s, 0.5) != square).any() for s in range(60)]
    assert 0.75 < np.mean(damaged) < 1


def test_strong_crops_may_hold_more_than_the_picture():
    dotted = np.zeros((200, 200, 3), np.uint8)
    dotted[::20, ::20] = 255
    crops = [augmentation.random_crop(dotted, 256, seed, 2)[..., 0] for seed in range(40)]
    dots = [cv2.connectedComponents((crop > 20).astype(np.uint8))[0] for crop in crops]
    assert max(dots) > 1.4 * 100 > 50 > min(dots)


def test_noise_is_among_the_damages():
    grey = np.full((64, 64, 3), 128, np.uint8)
    noisy = [augmentation.random_damage(grey, seed, 0.5).std() for seed in range(40)]
    assert 0.2 < np.mean(np.array(noisy) > 1) < 0.8


def test_resolution_is_taken_to_that_of_the_coarsest_images(scene):
    shorter = [min(augmentation.random_resolution(scene, seed).shape[:2]) for seed in range(60)]
    assert min(shorter) == augmentation.COARSEST
    assert 0.2 < np.mean(np.array(shorter) == augmentation.COARSEST) < 0.5
    assert max(shorter) > 150
    coarse = cv2.resize(scene, (112, 84), interpolation=cv2.INTER_AREA)
    assert augmentation.random_resolution(coarse, 0).shape == coarse.shape


def test_sideways_sharpness_goes_both_ways_and_along_the_rows_alone():
    across = np.random.default_rng(0).integers(60, 200, (1, 240, 1), np.uint8)
    across = np.tile(across, (180, 1, 3))
    down = np.ascontiguousarray(across.transpose(1, 0, 2))
    changed = [augmentation.random_sideways(across, seed).std() for seed in range(40)]
    assert min(changed) < 0.6 * across.std()
    assert max(changed) > 1.2 * across.std()
    assert all((augmentation.random_sideways(down, seed) == down).all() for seed in range(40))


def test_views_are_softened_as_often_as_asked(scene):
    plain, half, always = (
        [augmentation.augment(scene, 64, seed, softening=chance) for seed in range(30)]
        for chance in (0.0, 0.5, 1.0)
    )
    assert all((view != soft).any() for view, soft in zip(plain, always, strict=True))
    again = [augmentation.augment(scene, 64, seed, softening=0.5) for seed in range(30)]
    assert all((one == other).all() for one, other in zip(half, again, strict=True))
