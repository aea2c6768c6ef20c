"""Where errors that no person sees at once are kept: `hearth.log` in the state folder."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler

from openhearth import paths

LOG_FILE = "hearth.log"
_MAX_BYTES = 1_000_000


def start_log() -> logging.Handler:
    """Keep the package's warnings and errors in the file, which is made with the first of them."""
    handler = RotatingFileHandler(
        paths.ensure_private(paths.state_dir()) / LOG_FILE,
        maxBytes=_MAX_BYTES,
        backupCount=1,
        encoding="utf-8",
        delay=True,
    )
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("openhearth").addHandler(handler)
    return handler


def stop_log(handler: logging.Handler) -> None:
    logging.getLogger("openhearth").removeHandler(handler)
    handler.close()
