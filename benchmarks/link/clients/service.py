"""What an experiment tells its clients of the service."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

URL = os.environ.get("AIRSERVE_URL", "")
KEY = os.environ.get("AIRSERVE_KEY", "")
CA = os.environ.get("AIRSERVE_CA", "")
ADDRESS = urlsplit(URL).netloc
HEADERS = {"authorization": f"Bearer {KEY}"}
