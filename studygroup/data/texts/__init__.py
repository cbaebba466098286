"""Texts: tables, folders and archives -> token ids."""
