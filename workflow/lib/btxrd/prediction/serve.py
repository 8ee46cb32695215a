"""A page in the browser of the person at this machine: films in, probabilities and heat out, nothing kept."""

import logging
from pathlib import Path

import torch

from btxrd.caveats import NOT_CLINICAL
from btxrd.errors import UserError
from btxrd.prediction.predictor import Predictor

log = logging.getLogger("btxrd")

PAGE = Path(__file__).with_name("page.py")
MOST_FILMS, MOST_MEGABYTES = 12, 64  # on the page; of a film


def serve(checkpoint: Path, companion: Path | None, host: str, port: int) -> None:
    """Serve the page until someone stops it; raises UserError for a checkpoint that can't be used."""
    try:
        from starlette.formparsers import MultiPartParser
        from streamlit.web import bootstrap
    except ImportError as error:
        raise UserError(f"serve needs {error.name}: pip install '.[serve]' brings it.") from None
    Predictor(checkpoint, torch.device("cpu"), companion)  # what is wrong with it is said here, not on the page
    MultiPartParser.spool_max_size = (MOST_MEGABYTES + 1) * 1024**2  # a larger one would go through a file
    settings = {
        "server.address": host,
        "server.port": port,
        "server.maxUploadSize": MOST_MEGABYTES,
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "theme.base": "light",
    }
    log.info("%s. Ctrl-C ends it.", NOT_CLINICAL.capitalize())
    bootstrap.load_config_options(settings)
    bootstrap.run(str(PAGE), False, [str(checkpoint), str(companion or "")], settings)
