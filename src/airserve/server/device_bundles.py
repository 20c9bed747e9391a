"""Device bundles that were made lately: each is made once, however many devices fetch it in however many parts."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass

from airserve.models.catalog import DeploymentSpec
from airserve.models.device_bundle import make_bundle


@dataclass(frozen=True, slots=True)
class DeviceBundle:
    """A bundle, and its SHA-256 in hexadecimal."""

    content: bytes
    sha256: str


class DeviceBundles:
    """The bundles that were asked for last, within `max_bytes`, by the addresses of their packages.

    They lie in memory alone: packages may be encrypted at rest.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._bundles: OrderedDict[tuple[str, str, int], DeviceBundle] = OrderedDict()

    def known(self, spec: DeploymentSpec) -> DeviceBundle | None:
        """The bundle of a version, if it is in memory."""
        with self._lock:
            found = self._bundles.get(_key(spec))
            if found is not None:
                self._bundles.move_to_end(_key(spec))
            return found

    def make(self, spec: DeploymentSpec) -> DeviceBundle:
        """The bundle of a version. Reads files and computes: for a thread. One at a time is made, once."""
        with self._making:
            found = self.known(spec)
            if found is None:
                content = make_bundle(spec)
                found = DeviceBundle(content, hashlib.sha256(content).hexdigest())
                self._keep(_key(spec), found)
            return found

    def _keep(self, key: tuple[str, str, int], bundle: DeviceBundle) -> None:
        with self._lock:
            self._bundles[key] = bundle
            while sum(len(each.content) for each in self._bundles.values()) > self._max_bytes:
                self._bundles.popitem(last=False)


def _key(spec: DeploymentSpec) -> tuple[str, str, int]:
    # Two models may be of one package, and a bundle says which it is.
    return spec.address, spec.model, spec.version
