"""A call from what the caller wants to the best answer that there is: choose, send, and answer here if need be."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec

from airserve.client.calls import Settings, keyed
from airserve.client.exchange import HttpRequest, model_path, outputs_of
from airserve.client.link.answer import Answer, Told
from airserve.client.link.ask import Ask
from airserve.client.link.bundle_cache import BundleCache, default_folder
from airserve.client.link.chooser import Chooser, reaches
from airserve.client.link.codec_book import CodecBook
from airserve.client.link.coding import CodedCall, coded_call, decoded, rows_of
from airserve.client.link.device_place import DevicePlace
from airserve.client.link.fallback import first_answer
from airserve.client.link.offer import Offer, parse_offer
from airserve.client.link.options import Priced, Seen, cloud_plans, device_plan, split_plans
from airserve.client.link.outcome import Outcome, Prepared, alternative
from airserve.client.link.paths import Paths
from airserve.client.link.places import Places
from airserve.client.link.plan import RAW, Choice, Option, Place, Plan
from airserve.client.link.predictor import predict
from airserve.client.link.sender import Sender
from airserve.client.link.state import LinkView
from airserve.client.transport import Pem
from airserve.core.errors import (
    AirserveError,
    DeadlineExceededError,
    InvalidInputError,
    NotFoundError,
    UnreachableError,
)

_OFFER_S = 10.0
_LARGE_BYTES = 64 << 10
_TRIES_AGAIN_S = 1.0


class LinkCaller:
    """The link-aware half of both clients. All of it runs on one event loop."""

    def __init__(self, settings: Settings, paths: Paths, cache: Path | None, seed: int | None) -> None:
        self._sender = Sender(settings, paths)
        self._paths = paths
        self._places = Places(paths, settings, BundleCache(cache or default_folder()))
        self._chooser = Chooser(seed)
        self._book = CodecBook()
        self._seen: dict[str, Seen] = {}
        self._last: dict[str, Plan] = {}

    @property
    def view(self) -> LinkView:
        """The link as it is."""
        return self._sender.view

    async def close(self) -> None:
        """End what runs in the background, close connections, free models."""
        await self._places.close()
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
        offer = await self._ask_offer(model, version)
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
        began = time.monotonic()
        state = self._sender.enter()
        state.tried_at = began
        offer = await self._offer(ask, began)
        if ask.place == "device" and offer.device is not None:
            await self._places.load(ask.model, offer.version, offer.device.sha256)
        device, in_reserve = self._device(ask, offer)
        choice, priced = self._choose(ask, offer, device)
        if choice.option.plan.place == "device":
            outcome = await self._on_device(ask, offer, choice.option)
        elif in_reserve:
            outcome = await self._with_fallback(ask, offer, device, choice, priced, began)
        else:
            outcome = await self._over_link(ask, offer, choice.option, priced, began)
        self._last[ask.model] = choice.option.plan
        return self._answer(ask, offer, choice, outcome, time.monotonic() - began)

    async def _offer(self, ask: Ask, began: float) -> Offer:
        offer, fresh = self._places.offer(ask.model, ask.version)
        if offer is not None:
            name = f"offer of {ask.model}"
            if not fresh and not self._sender.state.is_suspect and not self._places.is_running(name):
                self._places.start(name, self._ask_offer(ask.model, ask.version))
            return offer
        budget_s = _OFFER_S if ask.deadline_s is None else ask.deadline_s
        budget_s = budget_s if ask.timeout_ms is None else min(budget_s, ask.timeout_ms / 1000)
        try:
            async with asyncio.timeout(max(0.0, began + budget_s / 2 - time.monotonic())):
                return await self._ask_offer(ask.model, ask.version)
        except NotFoundError:
            # A service of before, or no such model: the call itself will tell what is wrong.
            self._places.learn_nothing(ask.model, ask.version)
        except (UnreachableError, DeadlineExceededError, TimeoutError):
            pass
        return Offer(ask.model)

    async def _ask_offer(self, model: str, version: str | None) -> Offer:
        request = HttpRequest("GET", f"{model_path(model, version)}/places", {})
        response, _, _ = await self._sender.call(request, _OFFER_S * 1000)
        # Under the name that the caller uses, which may be an alias.
        offer = msgspec.structs.replace(parse_offer(response.body), model=model)
        self._places.learn(offer, version)
        return offer

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

    def _choose(self, ask: Ask, offer: Offer, device: DevicePlace | None) -> tuple[Choice, dict[Plan, Priced]]:
        seen = self._seen.setdefault(ask.model, Seen())
        rows = _rows(ask)
        plans = cloud_plans(ask.model, offer, ask.inputs, seen, self._book)
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

    def _option(self, model: str, priced: Priced) -> Option:
        state, now = self._sender.state, time.monotonic()
        prediction = predict(
            priced.plan,
            priced.costs,
            state.link,
            self._paths.connection(),
            now=now,
            idle_s=state.idle_s(now),
            factor=state.corrections.factor((model, priced.plan)),
        )
        return Option(priced.plan, priced.accuracy, priced.costs, prediction)

    async def _with_fallback(
        self,
        ask: Ask,
        offer: Offer,
        device: DevicePlace | None,
        choice: Choice,
        priced: dict[Plan, Priced],
        began: float,
    ) -> Outcome:
        """The cloud's answer if it comes in time, else the device's."""
        prediction, state = choice.option.prediction, self._sender.state
        here = self._option(ask.model, device_plan(offer, device, _rows(ask)))
        hopeless = ask.deadline_s is not None and prediction.p50_s > ask.deadline_s
        now = time.monotonic()
        if state.is_suspect or (hopeless and now - state.attempted_at < _TRIES_AGAIN_S):
            if not self._places.is_running("look"):
                look = self._sender.watch_for_return() if state.is_suspect else self._sender.look()
                self._places.start("look", look)
            return await self._on_device(ask, offer, here)
        return await first_answer(
            lambda: self._over_link(ask, offer, choice.option, priced, began),
            lambda: self._on_device(ask, offer, here),
            began=began,
            deadline_s=ask.deadline_s,
            cloud_p95_s=prediction.p95_s,
            late=not choice.in_time,
            device_p95_s=here.prediction.p95_s,
        )

    async def _on_device(self, ask: Ask, offer: Offer, option: Option) -> Outcome:
        if offer.device is None:
            raise NotFoundError(f"model '{ask.model}' has no variant for devices")
        device = await self._places.load(ask.model, offer.version, offer.device.sha256)
        began = time.monotonic()
        outputs = await device.run(ask.inputs)
        if ask.outputs is not None:
            outputs = {name: outputs[name] for name in ask.outputs}
        return Outcome(outputs, option.plan, option.accuracy, time.monotonic() - began)

    async def _over_link(
        self, ask: Ask, offer: Offer, option: Option, priced: dict[Plan, Priced], call_began: float
    ) -> Outcome:
        """The answer of the cloud, or of the head here and the tail there."""
        began, plan = time.monotonic(), option.plan
        self._sender.state.attempted_at = began
        call = await self._coded(ask, offer, priced[plan])
        request = keyed(call.request, ask.idempotency_key)
        response, told, trip = await self._sender.call(request, _left_ms(ask, call_began))
        seconds = time.monotonic() - began
        self._sender.state.corrections.learn((ask.model, plan), option.prediction.p50_s, seconds)
        if plan.place == "cloud":
            self._seen[ask.model].learn((told.queue_ms + told.compute_ms) / 1000, len(response.body))
        replayed = response.headers.get("idempotent-replayed") == "true"
        outputs = outputs_of(response, decoded)
        return Outcome(outputs, plan, option.accuracy, seconds, told, replayed, f"HTTP/{trip.kind}")

    async def _coded(self, ask: Ask, offer: Offer, priced: Priced) -> CodedCall:
        plan, model, version, inputs = priced.plan, ask.model, ask.version, ask.inputs
        if plan.place == "split":
            cut = next(each for each in offer.splits if each.model == plan.tail)
            head = await self._places.load(cut.model, cut.version, cut.head_sha256)
            (features,) = (await head.run(inputs)).values()
            model, version, inputs = cut.model, str(cut.version), {cut.tensor: features}
        work = (model, version, inputs, plan.codec, priced.codecs, offer.vision, ask.outputs, ask.call_id, self._book)
        if plan.codec == RAW or priced.costs.up_bytes + priced.costs.encode_s * 1e8 < _LARGE_BYTES:
            return coded_call(*work)
        return await asyncio.to_thread(coded_call, *work)

    def _answer(self, ask: Ask, offer: Offer, choice: Choice, outcome: Outcome, elapsed_s: float) -> Answer:
        explanation = tuple(alternative(each, choice, outcome) for each in choice.options) if ask.explain else ()
        return Answer(
            outcome.outputs,
            Told(
                place=outcome.plan.place,
                codec=outcome.plan.codec,
                accuracy=outcome.accuracy,
                model_accuracy=offer.accuracy,
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


def _left_ms(ask: Ask, began: float) -> float | None:
    """What is left of the deadline or of the call's own time, milliseconds; None where there is neither."""
    budgets = [each for each in (ask.timeout_ms, None if ask.deadline_s is None else ask.deadline_s * 1000) if each]
    return max(1.0, min(budgets) - (time.monotonic() - began) * 1000) if budgets else None


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
