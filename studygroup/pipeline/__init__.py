"""A run: from its options to the training of all its stages."""
