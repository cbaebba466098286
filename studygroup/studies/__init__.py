"""The tables and figures of the papers: what to run, what to read, how to draw it, and which claims to test."""
