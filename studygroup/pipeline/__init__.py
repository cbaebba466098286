"""A run: from options to stages to a finished run folder."""
