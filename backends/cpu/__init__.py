"""Placeholder docstring, replaced by the backend."""
