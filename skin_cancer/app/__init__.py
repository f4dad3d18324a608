"""The page: ipywidgets and anywidget over `Classifier`, its Voila template and kernels."""
