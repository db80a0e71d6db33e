"""The embedded dataset: a generator of problems composed of list operations."""
