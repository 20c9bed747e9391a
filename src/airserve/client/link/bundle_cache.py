"""Bundles on the device's disk, by their SHA-256, and what services offered last: there also when no link is."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import msgspec

from airserve.client.link.offer import Offer, parse_offer
from airserve.core.errors import AirserveError

_CHUNK = 1 << 20


def default_folder() -> Path:
    """The user's cache folder for Airserve, as the XDG Base Directory Specification says."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "airserve"


class BundleCache:
    """A folder with `bundles/SHA256` and `offers/`. What is under its own digest was checked when it came."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, sha256: str) -> Path | None:
        """The whole bundle; None where it is not there."""
        path = self._bundle(sha256)
        return path if path.is_file() else None

    def held_bytes(self, sha256: str) -> int:
        """How many bytes an interrupted download has left: the next one begins there."""
        with suppress(OSError):
            return self.part(sha256).stat().st_size
        return 0

    def part(self, sha256: str) -> Path:
        """The file of a bundle that is not whole yet; its folder is there."""
        path = self._bundle(sha256)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path.with_name(f"{path.name}.part")

    def complete(self, sha256: str) -> Path:
        """Take the part for whole. Raises `AirserveError`, and forgets the part, where it is not what was promised."""
        part, digest = self.part(sha256), hashlib.sha256()
        with part.open("rb") as file:
            while piece := file.read(_CHUNK):
                digest.update(piece)
        if digest.hexdigest() != sha256:
            part.unlink()
            raise AirserveError("the bundle for the device is not the one that the service promised; fetch it again")
        path = self._bundle(sha256)
        part.replace(path)
        return path

    def keep_offer(self, url: str, offer: Offer, version: str | None) -> None:
        """Remember what the service at `url` offers, for a start without a link. A full disk is no error."""
        with suppress(OSError):
            path = self._offer(url, offer.model, version)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
            fresh.write_bytes(msgspec.json.encode(offer))
            fresh.replace(path)

    def kept_offer(self, url: str, model: str, version: str | None) -> Offer | None:
        """What the service offered last; None where it was never asked."""
        try:
            return parse_offer(self._offer(url, model, version).read_bytes())
        except (OSError, AirserveError):
            return None

    def _bundle(self, sha256: str) -> Path:
        if len(sha256) != 64 or not sha256.isalnum():
            raise AirserveError("a bundle's SHA-256 has 64 hexadecimal digits")
        return self._folder / "bundles" / sha256

    def _offer(self, url: str, model: str, version: str | None) -> Path:
        name = hashlib.sha256(f"{url}\n{model}\n{version}".encode()).hexdigest()
        return self._folder / "offers" / f"{name}.json"
