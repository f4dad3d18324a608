"""Evaluate from the shell."""

from skin_cancer.evaluation.evaluate import main

main()
