"""Whole protocols, as others speak them to us."""
