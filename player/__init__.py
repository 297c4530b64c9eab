"""
The client library for web pages, as it is served: `headcount.js` without its comments.

Decides under which name it never changes. `headcount.min.js` is made of `headcount.js` by `make player`; a test proves that it is what
the source builds. Nothing here is run: browsers do that.
"""

import hashlib
from importlib import resources
from typing import Final

SCRIPT: Final = resources.files(__name__).joinpath("headcount.min.js").read_bytes()
HASH: Final = hashlib.sha256(SCRIPT).hexdigest()[:16]
