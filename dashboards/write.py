"""`python -m dashboards.write`: write the dashboards as the JSON that Grafana reads. The files are committed; never edit them."""

import json
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import audience, quality, tracker

FOLDER: Final = Path("dashboards/grafana")
"""In the checkout, from where this is run."""


def boards() -> dict[str, Dashboard]:
    """Return every dashboard by the name of its file."""
    return {"audience": audience.build(), "quality": quality.build(), "tracker": tracker.build()}


def text_of(board: Dashboard) -> str:
    """Return the JSON of a dashboard, the same for the same dashboard."""
    return json.dumps(board, cls=JSONEncoder, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, board in boards().items():
        (FOLDER / f"{name}.json").write_text(text_of(board))
