"""The options that several commands share; what they name is loaded when a command runs."""

import functools
import math
from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]

BACKENDS = ("auto", "cpu", "cuda", "reference")
BORDERS = ("symmetric", "reflect", "zero", "valid")
ENGINES = ("auto", "fragments", "strided", "sliding")


def net_options(command: Command, draw: bool = False) -> Command:
    """Adds NET, --weights, --backend and --allow-missing; the command gets the `Net`, ready to run, as `net`.

    With `draw` a net without weights is drawn; else that is refused unless the user asks for it by --allow-missing.
    """

    @click.argument("net", metavar="NET")
    @click.option("--weights", "-w", metavar="FILE", help=".caffemodel, .caffemodel.h5, or our .h5 (layer___filter).")
    @click.option("--backend", type=click.Choice(BACKENDS), default="auto", show_default=True, help="Where to compute.")
    @click.option("--allow-missing", is_flag=True, help="Let layers without weights keep their initial values.")
    @functools.wraps(command)
    def wrapped(net: str, weights: str | None, backend: str, allow_missing: bool, **rest: Any) -> Any:
        from .nets import load_net

        return command(net=load_net(net, weights, backend, allow_missing, draw), **rest)

    return wrapped


def dense_options(command: Command) -> Command:
    """Adds what `densify` takes; the command gets it as `how`."""

    @click.option(
        "--engine", type=click.Choice(ENGINES), default="auto", show_default=True, help="How to compute densely."
    )
    @click.option("--exact", is_flag=True, help="Direct sums only, and the same bits for any tiling.")
    @click.option("--output", metavar="BLOB", help="Which blob answers, where the net has several outputs.")
    @click.option("--threads", type=click.IntRange(1, 4096), help="All cores by default; the answer is the same.")
    @functools.wraps(command)
    def wrapped(engine: str, exact: bool, output: str | None, threads: int | None, **rest: Any) -> Any:
        return command(how={"engine": engine, "exact": exact, "output": output, "threads": threads}, **rest)

    return wrapped


def memory_option(command: Command) -> Command:
    """Adds --memory."""
    text = "Budget for the whole process, for example 4GiB; by default half of what is free, 4 GiB at most."
    return click.option("--memory", metavar="BYTES", help=text)(command)


def border_option(command: Command) -> Command:
    """Adds --border."""
    text = "What lies beyond the edge, by numpy's names; valid adds nothing, and the answer is smaller."
    return click.option("--border", type=click.Choice(BORDERS), default="symmetric", show_default=True, help=text)(
        command
    )


def grey_options(command: Command) -> Command:
    """Adds what is done to grey values; the command gets it as `grey`."""

    @click.option(
        "--scale", type=Finite(), default=1.0, metavar="S", help="Take (x - mean) * S; for 8 bits often 0.00392157."
    )
    @click.option("--mean", metavar="M[,M...]", callback=_means, help="One mean, or one per channel; 0 by default.")
    @click.option(
        "--normalize", is_flag=True, help="Stretch every section to -1 ... 1, as Greentea's Neural Tool does."
    )
    @click.option(
        "--repeat-grey", is_flag=True, help="Give a grey image to a net of several channels, once per channel."
    )
    @functools.wraps(command)
    def wrapped(scale: float, mean: tuple[float, ...], normalize: bool, repeat_grey: bool, **rest: Any) -> Any:
        from .images import Grey

        if normalize and (scale != 1.0 or any(mean)):
            raise click.UsageError("--normalize sets scale and mean by itself; leave out --scale and --mean")
        return command(grey=Grey(scale, mean, normalize, repeat_grey), **rest)

    return wrapped


class Finite(click.FloatRange):
    """A number that is neither NaN nor infinite."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not math.isfinite(number := super().convert(value, param, ctx)):
            self.fail(f"{value!r} is not finite", param, ctx)
        return number


def _means(context: click.Context, option: click.Parameter, text: str | None) -> tuple[float, ...]:
    try:
        means = tuple(float(part) for part in text.split(",")) if text else (0.0,)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no number and no list of numbers with commas", context, option) from None
    if not all(map(math.isfinite, means)):
        raise click.BadParameter(f"{text!r} is not finite", context, option)
    return means
