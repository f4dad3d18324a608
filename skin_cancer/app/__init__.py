"""The upload page: ipywidgets and anywidget over `Classifier`, shown by Voila or JupyterLab."""

from skin_cancer.app.page import build

__all__ = ["build"]
