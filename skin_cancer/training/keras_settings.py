"""Keras with the settings that this project relies on, whatever `~/.keras/keras.json` says.

All of it imports `keras` from here. The backend is TensorFlow unless the environment variable
`KERAS_BACKEND` names another.
"""

import os

os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "tensorflow"

import keras

__all__ = ["keras"]

if keras.backend.backend() != os.environ["KERAS_BACKEND"]:
    raise ImportError(
        "Keras was imported before skin_cancer.training, with the backend of its settings file: "
        f"{keras.backend.backend()}. Import skin_cancer.training first, or set KERAS_BACKEND."
    )
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")
keras.config.set_dtype_policy("float32")
