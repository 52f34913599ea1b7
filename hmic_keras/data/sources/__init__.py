"""Datasets, one per file: what is in them, under which licence, and how they are labelled."""
