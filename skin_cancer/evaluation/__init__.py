"""How good a bundle is, for whom, and why."""
