"""A call from what the caller wants to the best answer that there is: choose, send, and answer here if need be."""

from __future__ import annotations

import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec

from airserve.client.calls import Settings
from airserve.client.link.answer import Answer, Told
from airserve.client.link.ask import Ask
from airserve.client.link.bundle_cache import BundleCache, default_folder
from airserve.client.link.chooser import Chooser, reaches
from airserve.client.link.codec_book import CodecBook
from airserve.client.link.device_place import DevicePlace
from airserve.client.link.offer import Offer
from airserve.client.link.offers import Offers
from airserve.client.link.options import Priced, cloud_plans, device_plan, split_plans
from airserve.client.link.outcome import Outcome, Prepared, alternative
from airserve.client.link.outputs_back import Back, outputs_back
from airserve.client.link.over_link import OverLink
from airserve.client.link.paths import Paths
from airserve.client.link.places import Places
from airserve.client.link.plan import Choice, Option, Place, Plan
from airserve.client.link.predictor import predict
from airserve.client.link.reserve import Reserve
from airserve.client.link.sender import Sender
from airserve.client.link.sent_inputs import Digests
from airserve.client.link.sizes import rows_of
from airserve.client.link.state import LinkView
from airserve.client.transport import Pem
from airserve.core.errors import (
    AirserveError,
    InvalidInputError,
    NotFoundError,
)


class LinkCaller:
    """The link-aware half of both clients. All of it runs on one event loop."""

    def __init__(self, settings: Settings, paths: Paths, cache: Path | None, seed: int | None) -> None:
        self._sender = Sender(settings, paths)
        self._paths = paths
        self._places = Places(paths, settings, BundleCache(cache or default_folder()))
        self._chooser = Chooser(seed)
        self._book = CodecBook()
        self._cloud = OverLink(self._sender, self._places, self._book)
        self._reserve = Reserve(self._sender, self._places)
        self._offers = Offers(self._sender, self._places)
        self._last: dict[str, Plan] = {}

    @property
    def view(self) -> LinkView:
        """The link as it is."""
        return self._sender.view

    async def close(self) -> None:
        """End what runs in the background, close connections, free models."""
        await self._places.close()
        await self._sender.close()
        await self._paths.close()

    async def warm(self) -> None:
        """Wake the radio and open the connection. Never raises: a hint, no call."""
        self._sender.enter()
        try:
            await self._sender.probe()
        except AirserveError:
            return

    async def prepare(self, model: str, version: str | None) -> Prepared:
        """Fetch and time what the device can run of a model: its small variant, and the heads of its splits."""
        self._sender.enter()
        offer = await self._offers.ask(model, version)
        places: list[Place] = ["cloud"]
        device = None
        if offer.device is not None:
            device = await self._places.load(model, offer.version, offer.device.sha256)
            places.append("device")
        for cut in offer.splits:
            await self._places.load(cut.model, cut.version, cut.head_sha256)
        if offer.splits:
            places.append("split")
        size = offer.device.bytes if offer.device is not None else 0
        return Prepared(tuple(places), None if device is None else device.p50_s * 1000, size)

    async def keep_warm(self, seconds: float) -> None:
        """Keep the radio awake for `seconds` from now, in the background."""
        if not self._places.is_running("keep warm"):
            self._places.start("keep warm", self._sender.keep_warm(time.monotonic() + seconds))

    async def infer(self, ask: Ask) -> Answer:
        """The answer. Raises what `Client.infer` raises where no place can answer."""
        state = self._sender.enter()
        state.tried_at = ask.began
        offer = await self._offers.of(ask)
        if ask.place == "device" and offer.device is not None:
            await self._places.load(ask.model, offer.version, offer.device.sha256)
        device, in_reserve = self._device(ask, offer)
        digests = self._cloud.digests(ask)
        back = self._back(ask, offer)
        choice, priced = self._choose(ask, offer, device, digests, back)
        option = choice.option

        def cloud() -> Coroutine[Any, Any, Outcome]:
            return self._cloud.run(ask, offer, option, priced[option.plan], digests, back)

        if option.plan.place == "device":
            outcome = await self._on_device(ask, offer, option)
        elif in_reserve:
            here = self._option(ask.model, device_plan(offer, device, _rows(ask)))
            outcome = await self._reserve.answer(ask, choice, here, cloud, lambda: self._on_device(ask, offer, here))
        else:
            outcome = await cloud()
        self._last[ask.model] = option.plan
        return self._answer(ask, offer, choice, outcome, time.monotonic() - ask.began)

    def _device(self, ask: Ask, offer: Offer) -> tuple[DevicePlace | None, bool]:
        """The device place if it is loaded, and whether it may answer in the cloud's place, loaded first if need be."""
        if offer.device is None:
            return None, False
        loaded = self._places.device(offer.device.sha256)
        if ask.fallback != "device" or not (ask.accuracy is None or reaches(offer.device_accuracy(), ask.accuracy)):
            return loaded, False
        if loaded is None:
            self._places.fetch_beside(ask.model, offer.version, offer.device.sha256)
        return loaded, loaded is not None or self._places.is_on_disk(offer.device.sha256)

    def _choose(
        self, ask: Ask, offer: Offer, device: DevicePlace | None, digests: Digests, back: Back
    ) -> tuple[Choice, dict[Plan, Priced]]:
        seen = self._cloud.seen(ask.model)
        rows = _rows(ask)
        plans = cloud_plans(ask.model, offer, ask.inputs, seen, self._book, digests, back)
        plans += split_plans(offer, self._places.device, rows, seen, self._book)
        if device is not None:
            plans.append(device_plan(offer, device, rows))
        plans = _allowed(plans, ask)
        options = [self._option(ask.model, each) for each in plans]
        last = self._last.get(ask.model)
        choice = self._chooser.choose(
            options, floor=ask.accuracy, deadline_s=ask.deadline_s, prefer=ask.prefer, last=last
        )
        return choice, {each.plan: each for each in plans}

    def _back(self, ask: Ask, offer: Offer) -> Back:
        """How the outputs come; who asks for a codec by name wants nothing else changed."""
        seen = self._cloud.seen(ask.model)
        asked = seen.all_outputs if ask.outputs is None else ask.outputs
        known = {name: size for name, size in seen.output_bytes.items() if name in asked}
        offered = offer if ask.codec is None else msgspec.structs.replace(offer, codecs=())
        return outputs_back(offered, known, _rows(ask), self._sender.state.link, ask.accuracy)

    def _option(self, model: str, priced: Priced) -> Option:
        state, now = self._sender.state, time.monotonic()
        prediction = predict(
            priced.plan,
            priced.costs,
            state.link,
            self._paths.connection(),
            now=now,
            idle_s=state.idle_s(now),
            factor=1.0 if priced.plan.place == "device" else state.corrections.factor((model, priced.plan)),
        )
        return Option(priced.plan, priced.accuracy, priced.costs, prediction)

    async def _on_device(self, ask: Ask, offer: Offer, option: Option) -> Outcome:
        if offer.device is None:
            raise NotFoundError(f"model '{ask.model}' has no variant for devices")
        device = await self._places.load(ask.model, offer.version, offer.device.sha256)
        began = time.monotonic()
        outputs = await device.run(ask.inputs)
        if ask.outputs is not None:
            outputs = {name: outputs[name] for name in ask.outputs}
        return Outcome(outputs, option.plan, option.accuracy, time.monotonic() - began)

    def _answer(self, ask: Ask, offer: Offer, choice: Choice, outcome: Outcome, elapsed_s: float) -> Answer:
        explanation = tuple(alternative(each, choice, outcome) for each in choice.options) if ask.explain else ()
        return Answer(
            outcome.outputs,
            Told(
                place=outcome.plan.place,
                codec=outcome.plan.codec,
                accuracy=outcome.accuracy,
                model_accuracy=offer.accuracy,
                variant=outcome.variant,
                replayed=outcome.replayed,
                late=ask.deadline_s is not None and elapsed_s > ask.deadline_s,
                elapsed_ms=elapsed_s * 1000,
                transport=outcome.transport,
                timings=outcome.timings,
                explanation=explanation,
            ),
        )


def _allowed(plans: list[Priced], ask: Ask) -> list[Priced]:
    """The plans that the caller leaves. Raises `InvalidInputError` where there is none."""
    allowed = [
        each
        for each in plans
        if ask.place in (None, each.plan.place)
        and (ask.codec in (None, each.plan.codec) or each.plan.place == "device")
    ]
    if not allowed:
        there = ", ".join(f"{each.plan.place} {each.plan.codec}" for each in plans)
        raise InvalidInputError(f"'{ask.model}' has no place={ask.place} with codec={ask.codec}; there are: {there}")
    return allowed


def _rows(ask: Ask) -> int:
    return max((rows_of(array) for array in ask.inputs.values()), default=1)


def new_link_caller(
    settings: Settings,
    http: str,
    ca: Pem | None,
    certificate: tuple[Pem, Pem] | None,
    cache: Path | None,
    seed: int | None,
) -> LinkCaller:
    """The link-aware half of a client."""
    return LinkCaller(settings, Paths(settings.url, http, ca, certificate, seed=seed), cache, seed)
