"""The upload page: ipywidgets and anywidget over `Classifier`, shown by Voila or JupyterLab."""

from skin_cancer.app.page import BUNDLE_VARIABLE, build

__all__ = ["BUNDLE_VARIABLE", "build"]
