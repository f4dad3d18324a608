"""The network: a backbone, global average pooling and a linear head, in Keras 3.

With this shape the class activation map is the last feature map times the weights of the
head, so a heatmap needs no gradient (Zhou et al. 2016, "Learning Deep Features for
Discriminative Localization", section 2).
"""

import importlib
import math
from pathlib import Path

import numpy as np

from skin_cancer.training.keras_settings import keras

layers = keras.layers
IMAGENET_FOLDER = Path(__file__).resolve().parents[2] / "models" / "imagenet"

# (kernel, stride, expansion, filters, repeats) of each stage: Tan & Le 2019, "EfficientNet",
# table 1, with the squeeze-and-excitation left out.
LITE_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
# Width and depth multipliers of the official TensorFlow release of EfficientNet-Lite.
LITE_SCALES = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
    "efficientnet_lite3": (1.2, 1.4),
    "efficientnet_lite4": (1.4, 1.8),
}


def build_network(
    backbone: str, classes: int, start_weights: str | None = "imagenet"
) -> keras.Model:
    """Build the classification network.

    Args:
        backbone: `efficientnet_lite0` to `efficientnet_lite4`, or the name of any model of
            `keras.applications`, such as `MobileNetV3Small`.
        classes: number of outputs of the linear head.
        start_weights: `"imagenet"` or None for random ones.

    Returns:
        A flat `keras.Model` from RGB images, float (batch, height, width, 3) in [0, 255] of
        any size, to logits (batch, classes). Its layer `pool` takes the last feature map and
        its layer `head` is the linear head.

    Raises:
        ValueError: no such backbone, or its start weights are not here and cannot be downloaded.
    """
    inputs = keras.Input((None, None, 3), name="image")
    if backbone in LITE_SCALES:
        features = _efficientnet_lite(inputs, *LITE_SCALES[backbone])
        if start_weights == "imagenet":
            path = IMAGENET_FOLDER / f"{backbone}.weights.h5"
            if not path.exists():
                raise ValueError(f"No ImageNet weights for {backbone} in {path.parent}.")
            keras.Model(inputs, features).load_weights(path)
    else:
        features = _keras_application(backbone, inputs, start_weights)
    pooled = layers.GlobalAveragePooling2D(name="pool", dtype="float32")(features)
    logits = layers.Dense(classes, name="head", dtype="float32")(pooled)
    return keras.Model(inputs, logits, name=backbone)


def build_outputs(network: keras.Model, size: int) -> keras.Model:
    """Return the network with everything that the app shows, from one forward pass.

    Args:
        network: a model of `build_network`.
        size: side in pixels of the pictures it will take.

    Returns:
        A `keras.Model` from uint8 RGB (batch, size, size, 3) to a dictionary of float32:
        `logits` (batch, classes), `maps` (batch, h, w, classes), whose mean over the picture
        is the logits less the head's bias, and `features` (batch, channels), the pooled
        features.
    """
    pool, head = network.get_layer("pool"), network.get_layer("head")
    trunk = keras.Model(network.input, [pool.input, pool.output, head.output])
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    feature_map, features, logits = trunk(keras.ops.cast(image, "float32"))
    project = layers.Conv2D(head.units, 1, use_bias=False, name="maps")
    maps = project(feature_map)
    project.set_weights([head.get_weights()[0][None, None]])
    return keras.Model(image, {"logits": logits, "maps": maps, "features": features})


def freeze(network: keras.Model, statistics: bool, stages: int) -> None:
    """Let a part of a network keep its weights.

    Args:
        network: as `build_network` returns it.
        statistics: whether all batch normalisation keeps its own.
        stages: how many of the first stages of an EfficientNet-Lite do, the stem with them.

    Raises:
        ValueError: the network has no such stages.
    """
    first = tuple(["stem"] + [f"block{stage + 1}" for stage in range(stages)]) if stages else ()
    if not all(any(layer.name.startswith(name) for layer in network.layers) for name in first):
        raise ValueError(f"{network.name} has no {stages} first stages to keep as they are.")
    for layer in network.layers:
        normalises = isinstance(layer, layers.BatchNormalization)
        layer.trainable = not (layer.name.startswith(first) or (statistics and normalises))


def add_to_bias(network: keras.Model, values: np.ndarray) -> None:
    """Add values (classes,) to a network's logits, in the bias of its head."""
    bias = network.get_layer("head").bias
    bias.assign(bias + values)


def _efficientnet_lite(x, width, depth):
    """EfficientNet-Lite: stem and head of fixed width, ReLU6, no squeeze-and-excitation."""
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="normalise")(x)
    x = _conv(x, 32, 3, 2, "stem")
    for stage, (kernel, stride, expansion, filters, repeats) in enumerate(LITE_STAGES):
        inner = 0 < stage < len(LITE_STAGES) - 1
        for i in range(math.ceil(repeats * depth) if inner else repeats):
            name = f"block{stage + 1}{chr(ord('a') + i)}"
            x = _block(x, kernel, stride if i == 0 else 1, expansion, _scaled(filters, width), name)
    return _conv(x, 1280, 1, 1, "top")


def _block(x, kernel, stride, expansion, filters, name):
    """Inverted residual bottleneck (Sandler et al. 2018, "MobileNetV2", section 3)."""
    start = x
    if expansion != 1:
        x = _conv(x, x.shape[-1] * expansion, 1, 1, f"{name}_expand")
    x = layers.DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=False, name=f"{name}_depthwise"
    )(x)
    x = _normalise(x, f"{name}_depthwise")
    x = _conv(x, filters, 1, 1, f"{name}_project", activation=False)
    if stride == 1 and start.shape[-1] == filters:
        x = layers.Add(name=f"{name}_add")([start, x])
    return x


def _conv(x, filters, kernel, stride, name, activation=True):
    x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)(x)
    return _normalise(x, name, activation)


def _normalise(x, name, activation=True):
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_norm")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if activation else x


def _scaled(filters, width, divisor=8):
    """Scale a number of filters and round it to a multiple of 8, never down by over 10 %."""
    scaled = filters * width
    rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * scaled else rounded


def _keras_application(name, inputs, weights):
    build = getattr(keras.applications, name, None)
    if not callable(build):
        known = [*LITE_SCALES, *(n for n in dir(keras.applications) if n[0].isupper())]
        raise ValueError(f"No backbone {name!r}. Known: {', '.join(known)}.")
    preprocess = importlib.import_module(build.__module__).preprocess_input
    try:
        base = build(include_top=False, weights=weights, input_tensor=preprocess(inputs))
    except Exception as error:  # what Keras raises when it cannot download
        raise ValueError(
            f"{name} cannot be built: {error} Its ImageNet weights are downloaded on first use; "
            "without a network start from random ones."
        ) from error
    return base.output
