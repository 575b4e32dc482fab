"""A few configurations of every layer: odd sizes, H != W, two images, strides that do not divide.

The shared suites run all of them on every backend; a layer without a case fails a test. Each module here has a list CASES.
"""

import importlib
import pkgutil

from .case import Case

_MODULES = [importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__) if m.name != "case"]
CASES: list[Case] = [case for module in _MODULES for case in module.CASES]

# Layers whose behaviour is not arithmetic have tests of their own.
ELSEWHERE = {
    "DataLayer",
    "DummyDataLayer",
    "HDF5DataLayer",
    "HDF5OutputLayer",
    "ImageDataLayer",
    "InputLayer",
    "MemoryDataLayer",
    "MemoryOutputLayer",
    "SilenceLayer",
}
