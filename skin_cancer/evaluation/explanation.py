"""Heatmaps of the Keras network by eight methods, and measures of how faithful they are.

Every method of `METHODS` is a function of a network of `network.build_network` (on Keras'
TensorFlow backend), a uint8 RGB picture (size, size, 3) and the index of a diagnosis. It explains
the logit of that diagnosis and returns a float32 map (h, w) of any scale; `explain` makes it a
heatmap. Where a method or a measure takes something out of the picture, the picture's mean colour
comes in its place: black, the usual choice, would itself look like pigment.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf
from scipy.stats import spearmanr

from skin_cancer import priors
from skin_cancer.errors import BundleError
from skin_cancer.model import bundle
from skin_cancer.training.keras_settings import keras

BATCH = 16
CHANNELS = 64  # of Score-CAM
PATCHES = 7  # of occlusion, side by side
STEPS = 32  # of integrated gradients
COPIES = 16  # of SmoothGrad
NOISE = 0.15  # of SmoothGrad: standard deviation as a share of the picture's value range
SEED = 0
STAGES = 5  # of `randomised`, below the head

# Standard deviations of Gaussian blurs, as shares of the picture's side.
PIXEL_BLUR = 0.02
INSERTION_BLUR = 0.1


def load_network(folder: str | Path) -> keras.Model:
    """Load the Keras model of a bundle.

    Args:
        folder: the bundle's folder.

    Raises:
        BundleError: the bundle is absent or damaged, has no Keras model, or this Keras cannot load
            it.
    """
    bundle.read(folder)
    path = Path(folder) / bundle.KERAS_MODEL
    if not path.exists():
        raise BundleError(
            f"The bundle {folder} has no {bundle.KERAS_MODEL}, which gradients are computed from. "
            "Take one that has it; every training writes it."
        )
    try:
        network = keras.models.load_model(path, compile=False, safe_mode=True)
    except (OSError, TypeError, ValueError) as error:
        raise BundleError(
            f"Keras {keras.__version__} cannot load {path}: {error} Take the version that wrote it."
        ) from error
    return keras.Model(network.inputs[0], network.outputs[0], name=network.name)


def explain(network: keras.Model, image: np.ndarray, target: int, method: str) -> np.ndarray:
    """Show which parts of a picture speak for a diagnosis.

    The positive part of the method's map, scaled by its maximum (Selvaraju et al. 2017, "Grad-CAM",
    equation 2) and resized to the picture.

    Args:
        network: a model of `build_network`.
        image: uint8 RGB (size, size, 3).
        target: index of the diagnosis among the network's outputs.
        method: one of `METHODS`.

    Returns:
        float32 (size, size) in [0, 1]; all 0 where nothing speaks for the diagnosis.

    Raises:
        ValueError: no such method.
    """
    if method not in METHODS:
        raise ValueError(f"No method {method!r}; there are {', '.join(METHODS)}.")
    positive = np.maximum(METHODS[method](network, image, target), 0)
    scaled = positive / (positive.max() or 1)
    return np.clip(_resized(scaled, len(image), cv2.INTER_CUBIC), 0, 1)


def cam(network: keras.Model, image: np.ndarray, target: int) -> np.ndarray:
    """Class activation map (Zhou et al. 2016, "Learning Deep Features", section 2)."""
    features, _ = _last_features(network, image, target)
    return features @ network.get_layer("head").get_weights()[0][:, target]


def grad_cam(network: keras.Model, image: np.ndarray, target: int) -> np.ndarray:
    """Channels weighted by their mean gradient (Selvaraju et al. 2017, "Grad-CAM", section 3)."""
    features, gradient = _last_features(network, image, target)
    return features @ gradient.mean(axis=(0, 1))


def grad_cam_plus_plus(network: keras.Model, image: np.ndarray, target: int) -> np.ndarray:
    """Only positive gradients count (Chattopadhay et al. 2018, "Grad-CAM++", section 3.2).

    The score is the exponential of the logit, which is common to all channels and left out, as are
    the squares of the gradient on both sides of the fraction in equation 19.
    """
    features, gradient = _last_features(network, image, target)
    alpha = 1 / (2 + gradient * features.sum(axis=(0, 1)))
    return features @ (alpha * np.maximum(gradient, 0)).sum(axis=(0, 1))


def hires_cam(network: keras.Model, image: np.ndarray, target: int) -> np.ndarray:
    """Gradient times feature in each place (Draelos & Carin 2020, "HiResCAM", section 3)."""
    features, gradient = _last_features(network, image, target)
    return (features * gradient).sum(axis=-1)


def score_cam(network: keras.Model, image: np.ndarray, target: int) -> np.ndarray:
    """Channels weighted by the score of what they show (Wang et al. 2020, "Score-CAM", section 3).

    To spare time, only the `CHANNELS` channels that vary most over the picture are used, as in
    "Faster Score-CAM". The score of the baseline is common to all and cancels in the softmax. No
    weight is negative, so that something shows even where nothing speaks for the diagnosis.
    """
    features, _ = _last_features(network, image, target)
    strongest = features.std(axis=(0, 1)).argsort()[-CHANNELS:]
    maps = np.stack([_resized(features[..., k], len(image), cv2.INTER_LINEAR) for k in strongest])
    maps -= maps.min(axis=(1, 2), keepdims=True)
    maps /= np.maximum(maps.max(axis=(1, 2), keepdims=True), 1e-6)
    blank = _blank(image)
    masked = blank + maps[..., None] * (image - blank)
    return features[..., strongest] @ priors.softmax(_logits(network, masked)[:, target])


def occlusion(network: keras.Model, image: np.ndarray, target: int) -> np.ndarray:
    """Fall of the logit where a grey patch hides the picture (Zeiler & Fergus 2014, section 4.2).

    A seventh of the picture wide and moved by half its width; the mean where patches overlap.
    """
    size = len(image)
    patch = math.ceil(size / PATCHES)
    starts = np.linspace(0, size - patch, 2 * PATCHES - 1).round().astype(int)
    windows = [np.s_[y : y + patch, x : x + patch] for y in starts for x in starts]
    pictures = np.stack([image] * (1 + len(windows)))
    blank = _blank(image)
    for picture, window in zip(pictures[1:], windows, strict=True):
        picture[window] = blank[window]
    whole, *hidden = _logits(network, pictures)[:, target]
    fall, cover = np.zeros((2, size, size), np.float32)
    for logit, window in zip(hidden, windows, strict=True):
        fall[window] += whole - logit
        cover[window] += 1
    return fall / cover


def integrated_gradients(network: keras.Model, image: np.ndarray, target: int) -> np.ndarray:
    """Gradients from the mean colour to the picture (Sundararajan et al. 2017, section 3).

    Signed and summed over the colours, so that the sum of the map is the difference of the logits;
    blurred slightly, which keeps the sum, because single pixels cannot be seen.
    """
    blank = _blank(image)
    difference = image - blank
    shares = (np.arange(STEPS, dtype=np.float32) + 0.5) / STEPS
    between = blank + shares[:, None, None, None] * difference
    gradient = _mean_gradient(network, between, target)
    return _blurred((gradient * difference).sum(axis=-1), PIXEL_BLUR)


def smooth_grad(network: keras.Model, image: np.ndarray, target: int) -> np.ndarray:
    """Mean gradient over noisy copies (Smilkov et al. 2017, "SmoothGrad", section 2).

    The largest absolute value over the colours, blurred slightly. It says where the logit is
    sensitive, be it for or against the diagnosis.
    """
    noise = np.random.default_rng(SEED).normal(0, NOISE * np.ptp(image), (COPIES, *image.shape))
    gradient = _mean_gradient(network, (image + noise).astype(np.float32), target)
    return _blurred(np.abs(gradient).max(axis=-1), PIXEL_BLUR)


METHODS: dict[str, Callable] = {
    "CAM": cam,
    "Grad-CAM": grad_cam,
    "Grad-CAM++": grad_cam_plus_plus,
    "HiResCAM": hires_cam,
    "Score-CAM": score_cam,
    "occlusion": occlusion,
    "integrated gradients": integrated_gradients,
    "SmoothGrad": smooth_grad,
}


def probability(network: keras.Model, target: int, prior: Mapping[str, float]) -> Callable:
    """Return the `score` that `deletion` and `insertion` ask for.

    Args:
        network: as in `explain`.
        target: index of the diagnosis.
        prior: ISIC code to share among the training images, in the order of the logits.

    Returns:
        A function of uint8 RGB (n, size, size, 3) to float (n,), the probability of the diagnosis
        under the balanced prior.
    """
    shift = priors.shift(prior, priors.balanced(prior))
    return lambda images: priors.softmax(_logits(network, images) + shift)[:, target]


def uninformed(size: int, seed: int) -> dict[str, np.ndarray]:
    """Return heatmaps that know nothing of picture or network, to compare others with.

    Args:
        size: side of the picture in pixels.
        seed: of the random places.

    Returns:
        `random places`: as coarse and smooth as a class activation map; `centre`: a hill in the
        middle, where photographers put lesions. Float32 (size, size) in [0, 1].
    """
    places = np.random.default_rng(seed).random((size // 32, size // 32), np.float32)
    hill = cv2.getGaussianKernel(size, size / 6).astype(np.float32)
    return {
        "random places": _resized(places, size, cv2.INTER_CUBIC).clip(0, 1),
        "centre": hill @ hill.T / hill.max() ** 2,
    }


def deletion(
    score: Callable, image: np.ndarray, heatmap: np.ndarray, steps: int = 20
) -> np.ndarray:
    """Follow the probability while the picture is erased, most important pixels first.

    Petsiuk et al. 2018, "RISE", section 4; what is erased takes the mean colour. A faithful heatmap
    gives a small `area`. Pixels of equal importance go row by row.

    Args:
        score: as `probability` returns it.
        image: uint8 RGB (size, size, 3).
        heatmap: (size, size), largest where most important.
        steps: number of equal parts in which the pixels go.

    Returns:
        float (steps + 1,): the score of the whole picture first, of the erased one last.
    """
    return _curve(score, image, _blank(image), heatmap, steps)


def insertion(
    score: Callable, image: np.ndarray, heatmap: np.ndarray, steps: int = 20
) -> np.ndarray:
    """Follow the probability while a blurred picture becomes sharp, most important pixels first.

    Petsiuk et al. 2018, "RISE", section 4, with a stronger blur, since a lesion can be told by
    its mere outline. A faithful heatmap gives a large `area`.

    Args:
        score: as `probability` returns it.
        image: uint8 RGB (size, size, 3).
        heatmap: (size, size), largest where most important.
        steps: number of equal parts in which the pixels come.

    Returns:
        float (steps + 1,): the score of the blurred picture first, of the sharp one last.
    """
    return _curve(score, _blurred(image, INSERTION_BLUR), image, heatmap, steps)


def area(curve: np.ndarray) -> float:
    """Return the area under a curve over [0, 1], by the trapezoidal rule."""
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))


def pointing_game(heatmap: np.ndarray, mask: np.ndarray) -> bool:
    """Say whether the maximum of a heatmap lies on the lesion.

    Zhang et al. 2018, "Top-down Neural Attention by Excitation Backprop", section 4, without their
    tolerance of 15 pixels. A heatmap of zeros points nowhere.

    Args:
        heatmap: (h, w), not negative.
        mask: bool (h, w), true on the lesion.
    """
    return bool(heatmap.max() > 0 and mask.flat[heatmap.argmax()])


def energy_inside(heatmap: np.ndarray, mask: np.ndarray) -> float:
    """Return the share of a heatmap that lies on the lesion, in [0, 1].

    The energy-based pointing game of Wang et al. 2020, "Score-CAM", section 4.3. A heatmap of
    zeros has none.

    Args:
        heatmap: (h, w), not negative.
        mask: bool (h, w), true on the lesion.
    """
    return float(heatmap[mask].sum() / (heatmap.sum() or 1))


def randomised(network: keras.Model, seed: int) -> Iterator[tuple[str, keras.Model]]:
    """Destroy what the network has learnt, from the head down.

    Cascading randomisation (Adebayo et al. 2018, "Sanity Checks for Saliency Maps", section 3.1).
    A heatmap that explains the network changes with it. The weights of a layer are shuffled, not
    drawn anew, so that activations keep their range.

    Args:
        network: a model of `build_network`; it is left as it is.
        seed: of the shuffling.

    Yields:
        The lowest layer shuffled so far and a copy of the network: first the head alone, then also
        the rest in `STAGES` parts of as many layers each.
    """
    rng = np.random.default_rng(seed)
    head, *below = [layer.name for layer in reversed(network.layers) if layer.weights]
    parts = [part.tolist() for part in np.array_split(below, STAGES)]
    for names in [[head], *parts]:
        network = _copy(network)
        for name in names:
            layer = network.get_layer(name)
            layer.set_weights([_shuffled(weights, rng) for weights in layer.get_weights()])
        yield names[-1], network


def similarity(heatmap: np.ndarray, other: np.ndarray) -> float:
    """Return Spearman's rank correlation of two heatmaps, in [-1, 1]; NaN if one is constant."""
    if np.ptp(heatmap) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(spearmanr(heatmap.ravel(), other.ravel()).statistic)


def _last_features(network, image, target):
    """Return the last feature map (h, w, channels) and the gradient of the logit by it."""
    pool, head = network.get_layer("pool"), network.get_layer("head")
    features = keras.Model(network.input, pool.input)(image[None], training=False)
    with tf.GradientTape() as tape:
        tape.watch(features)
        logit = head(pool(features))[0, target]
    return features[0].numpy(), tape.gradient(logit, features)[0].numpy()


def _logits(network, images):
    return network.predict(images, batch_size=BATCH, verbose=0)


def _mean_gradient(network, images, target):
    """Return the gradient of the logit by the pixels, (h, w, 3), averaged over pictures."""
    total = np.zeros(images.shape[1:], np.float32)
    for batch in np.split(images, range(BATCH, len(images), BATCH)):
        pixels = tf.constant(batch)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pixels)
            logits = network(pixels, training=False)[:, target]
        total += tape.gradient(logits, pixels).numpy().sum(axis=0)
    return total / len(images)


def _blank(image):
    return np.full(image.shape, image.mean(axis=(0, 1)).round(), np.float32)


def _blurred(array, share):
    sigma = share * len(array)
    return cv2.GaussianBlur(array, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)


def _resized(array, size, interpolation):
    return cv2.resize(array, (size, size), interpolation=interpolation)


def _curve(score, start, end, heatmap, steps):
    """Return the score while `end` takes the place of `start`, most important pixels first."""
    rank = (-heatmap.ravel()).argsort(kind="stable").argsort().reshape(heatmap.shape)
    done = rank < np.linspace(0, rank.size, steps + 1)[:, None, None]
    return score(np.where(done[..., None], end, start).astype(np.uint8))


def _copy(network):
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    return copy


def _shuffled(weights, rng):
    return rng.permutation(weights.ravel()).reshape(weights.shape)
