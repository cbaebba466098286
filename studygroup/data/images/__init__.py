"""Images: files and archives -> arrays of pixels."""
