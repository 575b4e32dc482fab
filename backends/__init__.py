"""The kernels: a few array operations behind one protocol, imported as fullmocha.backends."""

if __name__ != "fullmocha.backends":
    raise ImportError("import fullmocha.backends, not backends: the folder name is not an import name")
