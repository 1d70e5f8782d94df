"""Measurements of the product, each against a ceiling of the same run: `./dev bench NAME`."""
