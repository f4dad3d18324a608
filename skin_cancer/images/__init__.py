"""Pixels: OpenCV and the decoders, nothing else."""
