"""Rows of vectors that can be added, searched, removed and forgotten: one interface, embedded or on a cluster."""
