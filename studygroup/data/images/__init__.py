"""Sources of images, and their preparation."""
