"""What ships and answers: a bundle of a network, loaded and asked; no TensorFlow."""
