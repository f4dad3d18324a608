"""Train from the shell."""

from skin_cancer.training.train import main

main()
