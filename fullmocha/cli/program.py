"""The program around the commands: whatever goes wrong is one message on standard error and a status.

    0      done
    2      a mistake that the user can cause: one line `error: ...`, and nothing half-written is left
    3      `check` found a difference
    130    interrupted; 143 terminated; 141 nobody reads the output any more

Anything else is a mistake of ours, and shows its traceback.
"""

import contextlib
import importlib
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import click

from .. import __version__
from ..errors import FullMochaError

COMMANDS = (
    "demo",
    "info",
    "predict",
    "check",
    "train",
    "convert",
    "bench",
    "warmup",
)  # one module each, which has a command of its name
MISTAKE, INTERRUPTED, CLOSED_PIPE = 2, 130, 141
AGAIN_SECONDS = 0.02  # until an interrupt that got lost is sent once more


class Interrupted(BaseException):
    """A signal that ends the program; like KeyboardInterrupt, no `except Exception` may swallow it."""

    def __init__(self, number: int) -> None:
        self.status = 128 + number


class ClosedPipe(BaseException):
    """Nobody reads what is written; a type that click does not know, for it would end with status 1."""


class Program(click.Group):
    """A group of commands that are imported when they are asked for, behind one door for all errors."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"fullmocha.cli.{name}")
        command: click.Command = getattr(module, name)
        return command

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _pipes():
            return super().make_context(*args, **extra)

    def invoke(self, context: click.Context) -> Any:
        with _pipes():
            return super().invoke(context)

    def main(self, args: Sequence[str] | None = None, *_: Any, **extra: Any) -> Any:
        """Runs a command and ends the process with its status, as click does in its standalone mode."""
        with _signals(), _notes(), warnings.catch_warnings():
            warnings.showwarning = _warn
            status = self._run(args, extra.get("prog_name"))
        sys.exit(status)

    def _run(self, args: Sequence[str] | None, name: str | None) -> int:
        try:
            done = super().main(args, name, standalone_mode=False)
            return done if isinstance(done, int) else 0
        except getattr(click.exceptions, "NoArgsIsHelpError", ()) as empty:  # since click 8.2
            empty.show()
            return empty.exit_code
        except click.UsageError as mistake:
            where = f"; see '{mistake.ctx.command_path} --help'" if mistake.ctx is not None else ""
            return _say(f"{mistake.format_message().rstrip('.')}{where}")
        except click.ClickException as mistake:
            return _say(mistake.format_message())
        except FullMochaError as mistake:
            return _say(str(mistake))
        except MemoryError as mistake:
            return _say(
                f"out of memory{f' ({mistake})' if str(mistake) else ''}; lower --memory, or use a smaller image or net"
            )
        except OSError as mistake:
            if mistake.filename is not None:
                return _say(f"{mistake.filename}: {mistake.strerror or mistake}")
            if not _while_printing(mistake):
                raise
            _drop_output()
            return _say(f"standard output: {mistake.strerror or mistake}")
        except ClosedPipe:
            _drop_output()
            return CLOSED_PIPE
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted; nothing half-written is left", err=True)
            return INTERRUPTED
        except Interrupted as end:
            click.echo("terminated; nothing half-written is left", err=True)
            return end.status


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning without the line of ours that it comes from."""
    click.echo("warning: " + " ".join(str(message).split()), err=True)


def _say(message: str) -> int:
    click.echo("error: " + " ".join(message.split()), err=True)  # one line, whatever a library put into its message
    return MISTAKE


class Notes(logging.Handler):
    """What a user should know while waiting, one line each on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo("note: " + " ".join(record.getMessage().split()), err=True)


@contextlib.contextmanager
def _notes() -> Iterator[None]:
    log, notes = logging.getLogger("fullmocha"), Notes()
    before = log.level
    log.addHandler(notes)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(notes)
        log.setLevel(before)


@contextlib.contextmanager
def _pipes() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ClosedPipe from error


def _while_printing(error: OSError) -> bool:
    """Whether it is click that could not write, which prints for all commands."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return frames[-1][0].f_globals.get("__name__") == click.utils.__name__


def _drop_output() -> None:
    """Drops what is held back for standard output; else Python would try to write it again at its end, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Lets a signal that would kill the process end it by an exception, so that what is half-written is removed.

    While LLVM compiles, the first Python code to run is often a callback of it, out of which no exception gets; Python would
    drop it with a note. It is sent again, until it arrives where it ends the command.
    """

    def end(number: int, _: object) -> None:
        raise Interrupted(number)

    def swallowed(lost: Any) -> None:
        if not isinstance(lost.exc_value, KeyboardInterrupt | Interrupted):
            return hook(lost)
        number = signal.SIGINT if isinstance(lost.exc_value, KeyboardInterrupt) else lost.exc_value.status - 128
        timers.append(threading.Timer(AGAIN_SECONDS, signal.raise_signal, [number]))
        timers[-1].daemon = True
        timers[-1].start()

    timers: list[threading.Timer] = []
    hook, sys.unraisablehook = sys.unraisablehook, swallowed
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    try:
        before = {name: signal.signal(getattr(signal, name), end) for name in names}
    except ValueError:  # not in the main thread, where signals cannot be set and do not arrive
        before = {}
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for timer in timers:
            timer.cancel()
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="fullmocha")
def main() -> None:
    """A network trained on patches labels every pixel of an image, as if the patch had been slid over it.

    NET is a prototxt file of Caffe's, an ONNX graph, or module:function, which returns a Net or a list of layers
    (fullmocha.models:n4). Exit status: 0 done, 2 a mistake in the input, 3 a failed check, 130 interrupted.
    """
