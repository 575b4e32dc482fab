"""The kernels: a few array operations behind one protocol, imported as fullmocha.backends."""

if __name__ != "fullmocha.backends":  # at the repository root a second copy would import, with registries of its own
    raise ImportError(f"this folder is imported as fullmocha.backends, not as {__name__}")
