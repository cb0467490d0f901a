"""The data in a report's page."""

from __future__ import annotations

import gzip
import re
from base64 import b64decode


def unpacked(page: str, name: str) -> bytes:
    """The uncompressed content of the page's element `<name>-data`."""
    match = re.search(rf'id="{name}-data">([^<]*)<', page)
    assert match
    return gzip.decompress(b64decode(match[1]))
