"""Errors that a caller can act on; each message says what is wrong and what to do."""


class SkinCancerError(Exception):
    """Base of all errors that this package raises on purpose."""


class ImageError(SkinCancerError):
    """A picture that cannot be read, or that is too large or too small."""


class DatasetError(SkinCancerError):
    """A dataset folder that is absent, incomplete or inconsistent."""


class BundleError(SkinCancerError):
    """A model bundle that is absent, damaged or of another schema version."""


class ArchiveError(SkinCancerError):
    """An archive of pictures that is absent or empty, or that could not be scored whole."""


class ClusterError(SkinCancerError):
    """A Dask cluster that does not answer, or whose workers cannot do what they are asked to."""


class TrainingError(SkinCancerError):
    """A training run that cannot start, go on or be saved."""


class ParameterError(SkinCancerError):
    """A notebook's parameter that is unknown or of the wrong kind."""
