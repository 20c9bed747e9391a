"""What a serving process keeps in memory: answers for retries, inputs by digest, answers of deterministic models,
frames of streams, bundles for devices."""

from __future__ import annotations

from airserve.server.device_bundles import DeviceBundles
from airserve.server.settings import Settings
from airserve.serving.frame_references import FrameReferences
from airserve.serving.held_inputs import HeldInputs
from airserve.serving.replays import Replays
from airserve.serving.response_cache import ResponseCache


class Memories:
    """All of them, as large and as long as the settings say. Nothing of them is on a disk."""

    def __init__(self, settings: Settings) -> None:
        self.replays = Replays(_bytes(settings.replay_cache_mb), _ns(settings.replay_seconds))
        self.inputs = HeldInputs(_bytes(settings.held_input_mb), _ns(settings.held_input_seconds))
        self.frames = FrameReferences(_bytes(settings.stream_mb), _ns(settings.stream_seconds))
        self.bundles = DeviceBundles(_bytes(settings.device_bundle_mb))
        self.responses = ResponseCache(_bytes(settings.response_cache_mb), _ns(settings.response_cache_seconds))

    def forget_expired(self, now_ns: int) -> None:
        """Let go of what is too old; `now_ns` is monotonic."""
        for memory in (self.replays, self.inputs, self.frames, self.responses):
            memory.forget_expired(now_ns)


def _bytes(megabytes: float) -> int:
    return int(megabytes * 1e6)


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
