"""What `fullmocha convert` does with Caffe's solver states: from one of their two forms to the other."""

from __future__ import annotations

from ..errors import FormatError

STATES = (".solverstate", ".solverstate.h5")


def is_state(name: str) -> bool:
    """Whether the name is a solver state's."""
    return name.lower().endswith(STATES)


def convert_state(source: str, target: str) -> str:
    """Copies what Caffe's solver remembers; returns what to tell the user."""
    from ..caffe.state import read_state, write_state

    for name in (source, target):
        if not is_state(name):
            raise FormatError(f"{name}: its suffix names no format of solver states; use one of {', '.join(STATES)}")
    state = read_state(source)
    write_state(target, state)
    values = sum(array.size for array in state.history)
    return f"wrote {target}: iteration {state.iter}, {len(state.history)} arrays, {values:,} values"
