"""bench/ is no part of the package: it is imported from the root of the checkout, as `python -m bench` does."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
