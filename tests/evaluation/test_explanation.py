import dataclasses

import keras
import numpy as np
import pytest
from keras import layers
from pictures import lesion
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
from tf_keras_vis.saliency import Saliency
from tf_keras_vis.scorecam import Scorecam

from skin_cancer.errors import BundleError
from skin_cancer.evaluation import explanation
from skin_cancer.images import squares
from skin_cancer.model import bundle, bundle_writer
from skin_cancer.model.classifier import Classifier
from skin_cancer.training.network import build_network

TARGET = 1
PICTURE = squares.centre_square(lesion(), 64)
MAP_AS_IT_IS = {"expand_cam": False, "normalize_cam": False}
# tf-keras-vis passes lists of pictures, which Keras 3 takes but warns of.
pytestmark = pytest.mark.filterwarnings("ignore:The structure of `inputs`")


def small_network(offset=(-2.0, -2.0, -2.0)):
    """Return a network whose feature map is as large as the picture: nothing is interpolated."""
    image = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 64, offset)(image)
    for seed in (1, 2):
        start = keras.initializers.GlorotUniform(seed)
        x = layers.Conv2D(8, 3, padding="same", activation="relu", kernel_initializer=start)(x)
    pooled = layers.GlobalAveragePooling2D(name="pool")(x)
    start = keras.initializers.GlorotUniform(3)
    return keras.Model(image, layers.Dense(2, name="head", kernel_initializer=start)(pooled))


@pytest.fixture
def network():
    return small_network()


@pytest.fixture(scope="module")
def lite_network():
    keras.utils.set_random_seed(0)
    return build_network("efficientnet_lite0", 7, None)


def target_logit(logits):
    return logits[:, TARGET]


def scaled(heatmap):
    positive = np.maximum(heatmap, 0)
    assert positive.max() > 0
    return positive / positive.max()


def square(size=64, start=40, side=12):
    mask = np.zeros((size, size), bool)
    mask[start : start + side, start : start + side] = True
    return mask


@pytest.mark.parametrize("method", explanation.METHODS)
def test_every_heatmap_has_the_size_of_the_picture_and_a_maximum_of_one(network, method):
    heatmap = explanation.explain(network, PICTURE, TARGET, method)
    assert heatmap.shape == (64, 64)
    assert heatmap.dtype == np.float32
    assert heatmap.min() >= 0
    assert heatmap.max() == pytest.approx(1)
    assert np.ptp(heatmap) > 0.1


@pytest.mark.parametrize("method", [name for name in explanation.METHODS if name != "Score-CAM"])
def test_where_nothing_speaks_for_a_diagnosis_the_heatmap_is_empty(network, method):
    head = network.get_layer("head")
    head.set_weights([np.zeros_like(weights) for weights in head.get_weights()])
    assert not explanation.explain(network, PICTURE, TARGET, method).any()


def test_unknown_method_is_named_with_those_there_are(network):
    with pytest.raises(ValueError, match=r"'LIME'.*Grad-CAM\+\+.*SmoothGrad"):
        explanation.explain(network, PICTURE, TARGET, "LIME")


def test_cam_grad_cam_and_hires_cam_are_one_behind_a_linear_head(lite_network):
    picture = squares.centre_square(lesion(), 128)
    cam = explanation.cam(lite_network, picture, TARGET)
    cells = cam.size
    assert np.ptp(cam) > 0
    for other in (explanation.grad_cam, explanation.hires_cam):
        again = cells * other(lite_network, picture, TARGET)
        assert np.allclose(again, cam, rtol=1e-4, atol=1e-5 * np.abs(cam).max())


def test_heatmaps_of_the_app_are_cam():
    """Up to the float16 of the graph's weights, which a weak map, scaled up, shows most."""
    network = explanation.load_network(bundle.DEFAULT_BUNDLE)
    picture = squares.centre_square(lesion(), 224)
    for target, heatmap in enumerate(
        Classifier.load(graph="float").predict(picture).heatmaps.values()
    ):
        assert np.abs(explanation.explain(network, picture, target, "CAM") - heatmap).max() < 0.05


def test_grad_cam_as_tf_keras_vis_has_it(network):
    theirs = Gradcam(network)(target_logit, PICTURE.astype("float32"), **MAP_AS_IT_IS)[0]
    ours = explanation.grad_cam(network, PICTURE, TARGET)
    assert np.allclose(scaled(ours), scaled(theirs), atol=1e-4)


def test_grad_cam_plus_plus_as_tf_keras_vis_has_it(network):
    """It also divides each alpha by their sum, which changes nothing while logits are small."""
    head = network.get_layer("head")
    head.set_weights([1e-4 * weights for weights in head.get_weights()])
    theirs = GradcamPlusPlus(network)(target_logit, PICTURE.astype("float32"), **MAP_AS_IT_IS)[0]
    ours = explanation.grad_cam_plus_plus(network, PICTURE, TARGET)
    assert np.allclose(scaled(ours), scaled(theirs), atol=1e-3)


def test_score_cam_as_tf_keras_vis_has_it():
    """It masks with zeros and takes the probability, not a softmax over the channels.

    So its zero is made the mean colour, and the only other output so much larger that the
    probability is the exponential of the logit.
    """
    mean = PICTURE.mean(axis=(0, 1)).round()
    ours, shifted = small_network(), small_network(tuple(mean / 64 - 2))
    kernel, bias = ours.get_layer("head").get_weights()
    kernel[:, 0], bias[:] = 0, (20, 0)
    for network in (ours, shifted):
        network.get_layer("head").set_weights([kernel, bias])
    shown = (PICTURE - mean).astype("float32")
    theirs = Scorecam(shifted)(target_logit, shown, **MAP_AS_IT_IS)[0]
    found = explanation.score_cam(ours, PICTURE, TARGET)
    assert np.allclose(scaled(found), scaled(theirs), atol=1e-4)


def test_smooth_grad_as_tf_keras_vis_has_it(network, monkeypatch):
    """With the same noise, and blurred as ours is."""
    rng = np.random.default_rng(explanation.SEED)
    monkeypatch.setattr("numpy.random.normal", rng.normal)
    theirs = Saliency(network)(
        target_logit,
        PICTURE.astype("float32"),
        smooth_samples=explanation.COPIES,
        smooth_noise=explanation.NOISE,
        gradient_modifier=None,
        keepdims=True,
        normalize_map=False,
    )[0]
    blurred = explanation._blurred(np.abs(theirs).max(axis=-1), explanation.PIXEL_BLUR)
    ours = explanation.smooth_grad(network, PICTURE, TARGET)
    assert np.allclose(scaled(ours), scaled(blurred), atol=1e-4)


def test_score_cam_takes_the_channels_that_vary_most(network, monkeypatch):
    features, _ = explanation._last_features(network, PICTURE, TARGET)
    strongest = features[..., features.std(axis=(0, 1)).argmax()]
    monkeypatch.setattr(explanation, "CHANNELS", 1)
    assert np.allclose(explanation.score_cam(network, PICTURE, TARGET), strongest)


def brightness_network():
    """Return a network whose logits are the mean of what is brighter than 0.7."""
    image = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(1, 1, activation="relu", name="bright")(x)
    pooled = layers.GlobalAveragePooling2D(name="pool")(x)
    network = keras.Model(image, layers.Dense(2, name="head")(pooled))
    network.get_layer("bright").set_weights([np.full((1, 1, 3, 1), 1 / 3), np.array([-0.7])])
    network.get_layer("head").set_weights([np.ones((1, 2)), np.zeros(2)])
    return network


def test_occlusion_finds_the_only_patch_that_counts():
    patch = square()
    picture = np.where(patch[..., None], 240, 40).repeat(3, axis=-1).astype("uint8")
    heatmap = explanation.explain(brightness_network(), picture, TARGET, "occlusion")
    assert explanation.pointing_game(heatmap, patch)
    reach = 10  # the width of a patch that hides a part of the picture
    assert not heatmap[~square(start=40 - reach, side=12 + 2 * reach)].any()


def test_occlusion_weighs_the_edge_like_the_middle():
    chequered = (np.indices((64, 64, 3))[:2].sum(axis=0) % 2 * 200 + 40).astype("uint8")
    fall = explanation.occlusion(brightness_network(), chequered, TARGET)
    assert 0 < fall.max() == pytest.approx(fall.min(), rel=1e-3)


def test_integrated_gradients_sum_to_the_difference_of_the_logits(network):
    """Even where the blur meets the edge of the picture."""
    picture = PICTURE.copy()
    picture[:20, :20] = 250
    grey = np.full_like(picture, picture.mean(axis=(0, 1)).round())
    shown, blank = target_logit(network.predict(np.stack([picture, grey]), verbose=0))
    total = explanation.integrated_gradients(network, picture, TARGET).sum()
    assert abs(shown - blank) > 0.01
    assert total == pytest.approx(shown - blank, rel=0.02)


def bright_share(images):
    return images[:, square()].mean(axis=(1, 2)) / 255


def test_a_faithful_heatmap_deletes_early_and_inserts_early():
    picture = np.where(square()[..., None], 240, 40).repeat(3, axis=-1).astype("uint8")
    faithful = square().astype("float32")
    deleted = explanation.deletion(bright_share, picture, faithful)
    inserted = explanation.insertion(bright_share, picture, faithful)
    assert len(deleted) == len(inserted) == 21
    assert (np.diff(deleted) <= 0).all()
    assert (np.diff(inserted) >= 0).all()
    assert deleted[0] == inserted[-1] == pytest.approx(240 / 255)
    assert deleted[-1] == pytest.approx(picture.mean().round() / 255)
    assert explanation.area(deleted) < explanation.area(
        explanation.deletion(bright_share, picture, -faithful)
    )
    assert explanation.area(inserted) > explanation.area(
        explanation.insertion(bright_share, picture, -faithful)
    )


def test_curves_follow_the_probability(network):
    prior = {"MEL": 0.8, "NV": 0.2}
    score = explanation.probability(network, TARGET, prior)
    curve = explanation.deletion(score, PICTURE, PICTURE.mean(axis=-1), steps=4)
    logits = network.predict(PICTURE[None], verbose=0)[0]
    assert curve.shape == (5,)
    weights = np.exp(logits) / list(prior.values())
    assert curve[0] == pytest.approx(weights[TARGET] / weights.sum(), rel=1e-5)


def test_heatmaps_that_know_nothing_are_repeatable_and_scaled():
    first, again = explanation.uninformed(64, 0), explanation.uninformed(64, 0)
    for name, heatmap in first.items():
        assert heatmap.shape == (64, 64)
        assert 0 <= heatmap.min() < heatmap.max() <= 1
        assert np.array_equal(heatmap, again[name])
    peak = np.unravel_index(first["centre"].argmax(), (64, 64))
    assert all(31 <= place <= 32 for place in peak)
    assert not np.array_equal(
        first["random places"], explanation.uninformed(64, 1)["random places"]
    )


def test_area_under_a_curve():
    assert explanation.area(np.array([1.0, 0.5, 0.0])) == pytest.approx(0.5)
    assert explanation.area(np.ones(21)) == pytest.approx(1)


def test_pointing_game_asks_where_the_maximum_lies():
    heatmap = np.full((64, 64), 0.5)
    heatmap[45, 45] = 1
    assert explanation.pointing_game(heatmap, square())
    assert not explanation.pointing_game(heatmap, ~square())


def test_energy_is_the_share_on_the_lesion():
    heatmap = np.ones((64, 64))
    assert explanation.energy_inside(heatmap, square()) == pytest.approx((12 / 64) ** 2)
    assert explanation.energy_inside(square().astype(float), square()) == 1


def test_an_empty_heatmap_has_no_maximum_and_no_energy():
    everywhere = np.ones((64, 64), bool)
    assert not explanation.pointing_game(np.zeros((64, 64)), everywhere)
    assert explanation.energy_inside(np.zeros((64, 64)), everywhere) == 0


def test_randomising_goes_down_from_the_head_and_leaves_the_network_alone(lite_network):
    before = lite_network.get_weights()
    names = [layer.name for layer in lite_network.layers if layer.get_weights()]
    stages = list(explanation.randomised(lite_network, seed=0))
    assert stages[0][0] == "head"
    assert stages[-1][0] == names[0]
    for stage, copy in stages:
        kernels = {
            name: (copy.get_layer(name).get_weights()[0], lite_network.get_layer(name))
            for name in names
            if "norm" not in name  # of an untrained network all alike, shuffled or not
        }
        same = {name for name, (ours, layer) in kernels.items() if (ours == layer.kernel).all()}
        assert same == set(names[: names.index(stage)]) & set(kernels)
    for weights, after in zip(before, lite_network.get_weights(), strict=True):
        assert (weights == after).all()


def test_randomising_changes_the_heatmap(lite_network):
    picture = squares.centre_square(lesion(), 128)
    evidence = explanation.cam(lite_network, picture, TARGET)
    for _, random_network in explanation.randomised(lite_network, seed=0):
        changed = explanation.cam(random_network, picture, TARGET)
        assert explanation.similarity(evidence, changed) < 0.9


def test_the_same_seed_randomises_alike(network, monkeypatch):
    monkeypatch.setattr(explanation, "STAGES", 2)
    drawn = [
        [copy.get_weights() for _, copy in explanation.randomised(network, seed)]
        for seed in (0, 0, 1)
    ]
    assert all(np.array_equal(a, b) for a, b in zip(drawn[0][-1], drawn[1][-1], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(drawn[0][-1], drawn[2][-1], strict=True))


def test_similarity_is_of_ranks():
    heatmap = np.random.default_rng(0).random((16, 16))
    assert explanation.similarity(heatmap, heatmap**3) == pytest.approx(1)
    assert explanation.similarity(heatmap, -heatmap) == pytest.approx(-1)
    assert abs(explanation.similarity(heatmap, heatmap.T)) < 0.3
    assert np.isnan(explanation.similarity(heatmap, np.zeros_like(heatmap)))


def test_a_model_that_keras_cannot_load_is_named(tmp_path):
    for name in (*bundle.GRAPHS.values(), bundle.KERAS_MODEL):
        (tmp_path / name).write_bytes(b"not a model")
    description = dataclasses.replace(
        bundle.read(bundle.DEFAULT_BUNDLE), metrics={}, studies={}, doubt={}
    )
    bundle_writer.write(tmp_path / "bundle", description, tmp_path)
    with pytest.raises(BundleError, match=r"cannot load .*model\.keras"):
        explanation.load_network(tmp_path / "bundle")
