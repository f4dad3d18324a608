import keras
import numpy as np
import pytest
from conftest import ROOT

from skin_cancer.training.network import LITE_SCALES, build_network, build_outputs

REFERENCE = ROOT / "tests" / "expected" / "efficientnet_lite0_reference.npz"
PARAMETERS = {
    "efficientnet_lite0": 4.652,
    "efficientnet_lite2": 6.092,
    "efficientnet_lite4": 13.007,
}


def test_imagenet_logits_are_those_of_the_original():
    """The original is PyTorch at float32; our weights are stored as float16."""
    reference = np.load(REFERENCE)
    network = build_network("efficientnet_lite0", reference["head"].shape[1])
    network.get_layer("head").set_weights([reference["head"], reference["bias"]])
    logits = network.predict(reference["image"][None], verbose=0)[0]
    assert np.abs(logits - reference["logits"]).max() < 0.01 < np.ptp(reference["logits"])


@pytest.mark.parametrize(("backbone", "millions"), PARAMETERS.items())
def test_lite_networks_have_the_published_number_of_parameters(backbone, millions):
    """As the official release counts them, with the 1,000 classes of ImageNet."""
    network = build_network(backbone, 1000, None)
    trainable = sum(np.prod(variable.shape) for variable in network.trainable_variables)
    assert trainable / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "MobileNetV3Small", "ResNet50"])
def test_networks_are_flat_and_take_any_size(backbone):
    network = build_network(backbone, 7, None)
    assert not any(isinstance(layer, keras.Model) for layer in network.layers)
    for size in (64, 96):
        assert network(np.zeros((2, size, size, 3), "float32")).shape == (2, 7)


def test_pixels_are_normalised_inside_as_keras_applications_asks():
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype("float32")
    network = build_network("MobileNetV2", 7, None)
    plain = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(64, 64, 3), pooling="avg"
    )
    plain.set_weights(network.get_weights()[:-2])
    expected = plain(keras.applications.mobilenet_v2.preprocess_input(image.copy()))
    pooled = keras.Model(network.input, network.get_layer("pool").output)(image)
    assert np.allclose(pooled, expected, atol=1e-5)


def test_unknown_backbone_is_named():
    with pytest.raises(ValueError, match=r"'NoSuchNet'.*efficientnet_lite0.*MobileNetV2"):
        build_network("NoSuchNet", 7)


def test_start_weights_that_cannot_be_downloaded(monkeypatch, tmp_path):
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", lambda *_, **__: 1 / 0)
    with pytest.raises(ValueError, match="without a network start from random ones"):
        build_network("MobileNetV3Small", 7)


def test_missing_start_weights_are_named():
    assert "efficientnet_lite4" in LITE_SCALES
    with pytest.raises(ValueError, match="No ImageNet weights for efficientnet_lite4"):
        build_network("efficientnet_lite4", 7)


def test_mean_of_the_maps_is_the_logits_less_the_bias():
    network = build_network("MobileNetV3Small", 7, None)
    bias = np.arange(7, dtype="float32")
    network.get_layer("head").bias.assign(bias)
    image = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3)).astype("uint8")
    outputs = build_outputs(network, 96)(image)
    means = np.mean(outputs["maps"], axis=(1, 2)) + bias
    assert np.allclose(means, outputs["logits"], atol=1e-4)
    assert np.allclose(outputs["logits"], network(image.astype("float32")), atol=1e-4)
