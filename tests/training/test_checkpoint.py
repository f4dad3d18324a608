import dataclasses

import numpy as np
import pytest

from skin_cancer import TrainingError
from skin_cancer.training import checkpoint
from skin_cancer.training.config import TrainingConfig
from skin_cancer.training.keras_settings import keras

PROVENANCE = {"data_sha256": "0", "versions": {}}


@pytest.fixture
def network():
    inputs = keras.Input((2,))
    network = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    network.compile("sgd", "mse")
    network.optimizer.build(network.trainable_variables)
    return network


def test_a_run_with_an_option_that_is_gone_goes_on_unless_it_was_in_use(network, tmp_path):
    config = TrainingConfig(output=str(tmp_path))
    variables = [*network.weights, *network.optimizer.variables]
    state = [np.ones(variable.shape, variable.dtype) for variable in variables]
    record = {"recipe": config.recipe, "provenance": PROVENANCE, "history": []}
    record["recipe"]["style_mixing"] = 0.0
    checkpoint.save(tmp_path, state, record)
    assert checkpoint.load(config, network, PROVENANCE) == record
    assert all((weight == 1).all() for weight in network.get_weights())
    del record["recipe"]["learn_from"]  # an option that is new had its default
    checkpoint.save(tmp_path, state, record)
    assert checkpoint.load(config, network, PROVENANCE) == record
    other = dataclasses.replace(config, learn_from="HAM10000")
    with pytest.raises(TrainingError, match="holds a run with learn_from='all'"):
        checkpoint.load(other, network, PROVENANCE)
    record["recipe"]["style_mixing"] = 0.5
    checkpoint.save(tmp_path, state, record)
    with pytest.raises(TrainingError, match=r"holds a run with style_mixing=0\.5"):
        checkpoint.load(config, network, PROVENANCE)
