"""Coffee breaks: what is done every n iterations while a net is trained. One line here makes a coffee known.

lounge.py     the lounge: which coffee when, and the statistics that they leave there
coffee.py     what a coffee is
summary.py, snapshot.py, validation.py    the coffees
"""

from .coffee import Coffee, Progress
from .lounge import CoffeeLounge, add_coffee_break, dump_statistics, setup_coffee_lounge
from .snapshot import Snapshot
from .summary import TrainingSummary
from .validation import ValidationPerformance

__all__ = [
    "Coffee",
    "CoffeeLounge",
    "Progress",
    "Snapshot",
    "TrainingSummary",
    "ValidationPerformance",
    "add_coffee_break",
    "dump_statistics",
    "setup_coffee_lounge",
]
