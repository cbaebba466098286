"""Sources of texts, tokenizers, and the preparation of texts as token ids."""
