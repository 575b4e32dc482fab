"""Coffee breaks: what is done every n iterations while a net is trained. One line here makes a coffee known.

lounge.py     the lounge: which coffee when, and the statistics that they leave there
coffee.py     what a coffee is
summary.py, snapshot.py, validation.py    Mocha's coffees
display.py, scores.py                     what Caffe's solver says while it trains, and its tests
"""

from .coffee import Coffee, Progress
from .display import Display
from .lounge import CoffeeLounge, add_coffee_break, dump_statistics, setup_coffee_lounge
from .scores import TestScores
from .snapshot import Snapshot
from .summary import TrainingSummary
from .validation import ValidationPerformance

__all__ = [
    "Coffee",
    "CoffeeLounge",
    "Display",
    "Progress",
    "Snapshot",
    "TestScores",
    "TrainingSummary",
    "ValidationPerformance",
    "add_coffee_break",
    "dump_statistics",
    "setup_coffee_lounge",
]
