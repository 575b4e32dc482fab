"""How training talks: the logger "fullmocha".

A program that sets up logging gets its lines there. Any other shows them as they are, so that a plain script is not
mute; `logging.getLogger("fullmocha").setLevel("WARNING")` silences it.
"""

import logging

logger = logging.getLogger("fullmocha")


class _Plain(logging.Handler):
    """Prints, on whatever is the standard output by then, unless the program has set up logging itself, for all or for this."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers and logger.handlers == [self]:
            print(self.format(record), flush=True)


if not logger.handlers:
    logger.addHandler(_Plain())
if logger.level == logging.NOTSET:
    logger.setLevel(logging.INFO)
