"""A config and a dataset to a bundle."""
