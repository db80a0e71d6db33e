"""Readers that several task sets share, of datasets as they are published."""
