"""The window's arithmetic against counting by hand: every start is tried, and the rules are asked one by one."""

import pytest
from fullmocha.backends.shapes import Window
from hypothesis import given
from hypothesis import strategies as st

axis = {
    "kernel": st.integers(1, 5),
    "stride": st.integers(1, 4),
    "pad": st.integers(0, 3),
    "dilation": st.integers(1, 3),
}


def reads(window: Window, start: int) -> list[int]:
    """The inputs that a one-dimensional window at this output reads."""
    (k,), (s,), (p,), (d,) = window.kernel, window.stride, window.pad, window.dilation
    return [start * s - p + i * d for i in range(k)]


@given(size=st.integers(1, 20), **axis)
def test_floor_counts_the_positions_that_fit(size: int, kernel: int, stride: int, pad: int, dilation: int) -> None:
    window = Window.of((kernel,), stride, pad, dilation)
    fitting = sum(reads(window, o)[-1] < size + pad for o in range(50))
    (out,) = window.slides((size,))
    assert max(out, 0) == fitting


@given(size=st.integers(1, 20), **axis)
def test_ceil_also_counts_the_window_that_hangs_over(
    size: int, kernel: int, stride: int, pad: int, dilation: int
) -> None:
    """One window more than floor if an element would be left over, unless it begins in the trailing padding."""
    window = Window.of((kernel,), stride, pad, dilation)
    (floor,) = window.slides((size,))
    if floor < 1:
        return
    left_over = reads(window, floor - 1)[-1] < size + pad - 1
    begins_outside = pad > 0 and reads(window, floor)[0] >= size
    (ceil,) = window.slides((size,), "ceil")
    dropped = pad > 0 and not left_over and reads(window, floor - 1)[0] >= size
    assert ceil == floor + (left_over and not begins_outside) - dropped


@pytest.mark.parametrize(
    ("window", "size", "floor", "ceil"),
    [
        (Window.of((3,), stride=2), 8, 3, 4),  # starts 0 2 4, and 6 hangs over by one
        (Window.of((2,), stride=2), 7, 3, 4),
        (Window.of((2,), stride=2), 8, 4, 4),
        (Window.of((2,), stride=3, pad=1), 4, 2, 2),  # starts -1 2; 5 is beyond the trailing padding
        (Window.of((3,), stride=2, dilation=2), 9, 3, 3),
        (Window.of((3,), stride=2, dilation=2), 8, 2, 3),
        (Window.of((6,)), 5, 0, 0),
        (Window.of((7,)), 5, -1, -1),
    ],
)
def test_slides_by_hand(window: Window, size: int, floor: int, ceil: int) -> None:
    assert window.slides((size,)) == (floor,)
    assert window.slides((size,), "ceil") == (ceil,)


def test_axes_are_independent() -> None:
    window = Window(kernel=(3, 2, 1), stride=(1, 2, 3), pad=(0, 1, 0), dilation=(2, 1, 1))
    assert window.extent == (5, 2, 1)
    assert window.slides((9, 6, 10)) == (5, 4, 4)


@given(size=st.integers(1, 20), **axis)
def test_spread_is_where_the_adjoint_writes(size: int, kernel: int, stride: int, pad: int, dilation: int) -> None:
    """The last element written, less the trailing padding; and a convolution over it has `size` positions again."""
    window = Window.of((kernel,), stride, pad, dilation)
    (spread,) = window.spread((size,))
    assert spread == reads(window, size - 1)[-1] + 1 - pad
    if spread > 0:
        assert window.slides((spread,)) == (size,)
