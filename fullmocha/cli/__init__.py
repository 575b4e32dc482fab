"""The command line: `fullmocha COMMAND`, one file per command.

    program.py    what a mistake, an interrupt and a crash look like; the list of commands
    nets.py       NET and --weights, which most commands take
    images.py     inputs and outputs as sections, and the grey values that the net wants
    jobs.py       labelling as a plan that can be shown and then run
    tables.py     aligned columns

A module here imports click and nothing else that costs time; the rest is imported when a command runs, so that `--help` is quick.
"""

from .program import main

__all__ = ["main"]
