"""Cache on disk: downloads, prepared arrays, fingerprints."""
