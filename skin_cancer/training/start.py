"""The weights that a training starts from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skin_cancer import priors
from skin_cancer.errors import TrainingError
from skin_cancer.model import bundle
from skin_cancer.training.config import TrainingConfig
from skin_cancer.training.keras_settings import keras
from skin_cancer.training.network import add_to_bias, build_network

START_WEIGHTS = {"imagenet": "imagenet", "random": None}


def start_network(
    config: TrainingConfig, codes: Sequence[str], kept: dict[str, list[str]] | None = None
) -> keras.Model:
    """Build the network for some diagnoses with the start weights that the config names.

    Its logits mean all diagnoses to be equally frequent. Of several bundles, trained on from the
    same weights, it has the mean (Wortsman et al. 2022, "Model soups", section 2). Diagnoses that
    a bundle does not know start as if at random.

    Args:
        config: of the run.
        codes: of its logits.
        kept: what the run keeps apart, as `config.kept_apart` returns it.

    Raises:
        BundleError: a bundle to start from is damaged.
        TrainingError: there are no such start weights, they have seen what the run keeps apart,
            or there is no such backbone.
    """
    from_bundles = config.start_weights not in START_WEIGHTS
    folders = [Path(start) for start in config.starts] if from_bundles else []
    for folder in folders:
        _check_start(config, folder, kept)
    try:
        plain = START_WEIGHTS.get(config.start_weights)
        network = build_network(config.backbone, len(codes), plain)
        if folders:
            weights = [_weights(network, folder, codes) for folder in folders]
            network.set_weights([np.mean(parts, axis=0) for parts in zip(*weights, strict=True)])
    except ValueError as error:
        raise TrainingError(f"The network cannot start: {error}") from error
    return network


def _weights(network, folder, codes):
    """Return the weights of a bundle whose logits are to mean all diagnoses equally frequent."""
    path, trained = folder / bundle.KERAS_MODEL, bundle.read(folder).prior
    saved = keras.models.load_model(path, compile=False, safe_mode=True)
    add_to_bias(saved, priors.shift(trained, priors.balanced(trained)))
    *trunk, kernel, bias = saved.get_weights()
    *_, own_kernel, own_bias = network.get_weights()
    known = list(trained)
    for place, code in enumerate(codes):
        if code in known:
            own_kernel[:, place] = kernel[:, known.index(code)]
            own_bias[place] = bias[known.index(code)]
    return [*trunk, own_kernel, own_bias]


def _check_start(config, folder, kept):
    if not (folder / bundle.KERAS_MODEL).is_file():
        raise TrainingError(
            f"start_weights={str(folder)!r} is neither 'imagenet', 'random' nor the folder of a "
            "bundle with a Keras model."
        )
    held_out = ("fold", "source", "holdout")
    record = bundle.read(folder).training
    seen = _archives_seen(record)
    if kept and seen and not seen & set(kept):
        return
    theirs = record["recipe"]
    theirs = {name: theirs.get(name, getattr(TrainingConfig, name)) for name in held_out}
    ours = {name: getattr(config, name) for name in held_out}
    trained_on_all = {"fold": None, "source": "", "holdout": "included"}
    if ours not in (theirs, trained_on_all, {**theirs, "fold": None, "source": ""}):
        raise TrainingError(
            f"start_weights={str(folder)!r} has seen what {ours} keeps apart; its own "
            f"training kept {theirs}. Take the same, or other start weights."
        )
    if ours != trained_on_all and kept:
        _check_kept(folder, record["provenance"].get("kept"), kept)


def _archives_seen(record):
    """Return the archives that a network has seen so far; none where it is not told."""
    came = record["provenance"]
    counted = came.get("images_of_sources") or came.get("kept") or {}
    seen = {source.partition(",")[0] for source in counted}
    return seen.union(*map(_archives_seen, record.get("starts", [])))


def _check_kept(folder, theirs, ours):
    """Refuse weights that may have seen a lesion which this run keeps apart."""
    if theirs is None and len(ours) == 1:
        return  # of the time when a dataset was one archive, always divided alike
    if theirs is None:
        raise TrainingError(
            f"start_weights={str(folder)!r} does not say which lesions it has not seen. Take other "
            "start weights."
        )
    seen = sorted(
        {i for archive in theirs for i in ours.get(archive, [])}.difference(*theirs.values())
    )
    if seen:
        raise TrainingError(
            f"start_weights={str(folder)!r} may have seen {len(seen)} lesions that this run keeps "
            f"apart ({', '.join(seen[:3])} ...). Name the same data and links, or take other start "
            "weights."
        )
