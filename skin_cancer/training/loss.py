"""What training minimises, and how: the loss, the accuracy beside it, the optimizer."""

from skin_cancer.training.config import TrainingConfig
from skin_cancer.training.keras_settings import keras

WARM_UP_EPOCHS = 0.5
NEVER = -1e9  # logarithm of no probability, and of the share of what no training image shows


class AdjustedCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits to which the logarithms of the class shares are added.

    So the logits themselves mean all diagnoses to be equally frequent (Menon et al. 2021,
    "Long-tail learning via logit adjustment", section 4.2). Labels come as from `TrainingImages`:
    where several diagnoses may be right, their probabilities are added. A diagnosis of the share
    `NEVER` takes no part: a smoothed label that gave it a little would outweigh so small a share,
    and the network would find it in every image.
    """

    def __init__(self, label_smoothing: float):
        super().__init__(name="adjusted_crossentropy")
        self.label_smoothing = label_smoothing

    def call(self, labels: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
        """Return the loss of each image: (batch,)."""
        labels, log_prior = keras.ops.split(labels, 2, axis=1)
        logits, kept = logits + log_prior, 1 - self.label_smoothing
        several = keras.ops.sum(labels, axis=1) > 1.5  # a distribution's sum is 1
        truth = labels / keras.ops.sum(labels, axis=1, keepdims=True)
        shown = keras.ops.cast(log_prior > NEVER / 2, "float32")
        spread = shown / keras.ops.sum(shown, axis=1, keepdims=True)
        smoothed = kept * truth + self.label_smoothing * spread
        plain = keras.losses.categorical_crossentropy(smoothed, logits, from_logits=True)
        log_chances = keras.ops.log_softmax(logits)
        either = keras.ops.logsumexp(keras.ops.where(labels > 0, log_chances, NEVER), axis=1)
        gain = either - keras.ops.sum(truth * log_chances, axis=1)
        return plain - keras.ops.where(several, kept * gain, 0.0)


def accuracy(labels: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
    """Return whether each image's most probable diagnosis is right, under its class shares.

    Args:
        labels: float32 (batch, 2 x diagnoses), as from `TrainingImages`.
        logits: float32 (batch, diagnoses).

    Returns:
        float32 (batch,), 0 or 1.
    """
    truth, log_prior = keras.ops.split(labels, 2, axis=1)
    called = keras.ops.argmax(logits + log_prior, axis=1)
    chosen = keras.ops.sum(truth * keras.ops.one_hot(called, truth.shape[1]), axis=1)
    return keras.ops.cast(chosen >= keras.ops.max(truth, axis=1), "float32")


def compile_network(network: keras.Model, config: TrainingConfig, steps: int) -> None:
    """Give a network the loss and the optimizer of a config, all its variables built.

    Args:
        network: as `network.build_network` returns it; what is not to be trained is frozen.
        config: of the run.
        steps: of an epoch, for the schedule of the learning rate.
    """
    warm_up = round(WARM_UP_EPOCHS * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=config.learning_rate,
        warmup_steps=warm_up,
        decay_steps=max(1, config.epochs * steps - warm_up),
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=config.weight_decay, use_ema=True, ema_momentum=config.averaging
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    network.compile(optimizer, AdjustedCrossentropy(config.label_smoothing), metrics=[accuracy])
    optimizer.build(network.trainable_variables)
