"""
The live page: what a browser is sent, as it lies here. There is no build step, and nothing comes from elsewhere.

It knows of the tracker what any client does: the events of `/live`, and the operators' routes. It is served by `serve_app/operators/ops.py`.
"""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent / "site"
LOCKED: Final = 'data-token="wanted"'
"""What the page says of itself: it asks for the ops token."""
OPEN: Final = 'data-token="none"'
"""What it says instead where no token is needed."""
