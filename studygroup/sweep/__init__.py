"""Many runs: variants of a training over seeds, side by side in processes or on a Ray cluster."""
