"""Folders to checked tables."""
