"""The drawings of the pages, as SVG: `make figures` writes each in a light and a dark variant into docs/figures."""
