"""Checks of what a potential does, beside its errors: each gives a `Check`, with the curves that show it."""
