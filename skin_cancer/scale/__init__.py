"""Many images and many runs, on one machine or on a cluster."""
