"""FullMocha: a network trained on patches labels every pixel, as if the patch had been slid over the image."""

import importlib.util as _util
import os.path as _p
import sys as _sys
from typing import Any as _Any

__version__ = "0.1.0"


class _Beside:
    """Finds fullmocha.backends in the sibling folder of a checkout; last in line, so an installed one always wins."""

    root = _p.join(_p.dirname(_p.dirname(_p.abspath(__file__))), "backends")

    @classmethod
    def find_spec(cls, name: str, path: _Any = None, target: _Any = None) -> _Any:
        init = _p.join(cls.root, "__init__.py")
        if name != "fullmocha.backends" or not _p.isfile(init):
            return None
        return _util.spec_from_file_location(name, init, submodule_search_locations=[cls.root])


_sys.meta_path.append(_Beside)  # type: ignore[arg-type]
