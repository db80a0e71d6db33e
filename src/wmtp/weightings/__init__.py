"""One module per weighting."""
