"""What a report's page holds."""

from __future__ import annotations

import gzip
import re
from base64 import b64decode


def unpacked(page: str, name: str) -> bytes:
    """What the page's element `<name>-data` holds, compressed."""
    match = re.search(rf'id="{name}-data">([^<]*)<', page)
    assert match
    return gzip.decompress(b64decode(match[1]))
