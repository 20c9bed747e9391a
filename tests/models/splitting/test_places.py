from __future__ import annotations

import dataclasses

import pytest

from airserve.models.splitting.codings import Coding
from airserve.models.splitting.divisions import best_division
from airserve.models.splitting.graph import read_graph
from airserve.models.splitting.places import Place, compare, could_pay, worth_it
from airserve.models.splitting.profile import Feature, Profile
from airserve.models.splitting.study import Cut, Study
from airserve.models.splitting.transfer import Uplink
from airserve.models.splitting.whole import Uploads
from tests.models.splitting.networks import small_cnn

SLOW, FAST = Uplink(1e6, 0.02), Uplink(1e9, 0.02)


def measured(*, feature_bytes: float = 100.0, accuracy: float = 1.0, picture_bytes: float = 10_000.0) -> Study:
    """10 ms in all, half of it before the only cut; the pictures take no time to code."""
    model = small_cnn()
    cut = Cut(1, "c2", (1, 8, 8, 8), 0.005, 0.005, (Coding("int8c", feature_bytes, accuracy),))
    pictures = (
        Coding("fp32", 12_288, 1.0),
        Coding("as it is", picture_bytes, 1.0),
        Coding("jpeg:75", picture_bytes / 4, 0.5, 0.0),
    )
    times = Profile({"c1": 0.005, "c3": 0.005}, 0.01, frozenset({"c2"}))
    shapes = {name: Feature(1, (1, 8, 8, 8)) for name in ("r1", "c1", "c2", "c3", "r3", "sum", "pooled", "flat")}
    return Study(model, read_graph(model), times, shapes, Uploads(pictures), (cut,), "top-1 agreement", 10)


def test_each_place_costs_its_times_and_its_bytes() -> None:
    found = compare(measured(), SLOW, 4.0, 0.99)
    seconds = {way.name: way.seconds for way in found.ways}
    assert seconds == pytest.approx({
        "device": 0.04,
        "cloud": 0.02 + 0.08 + 0.01,
        "cloud, raw": 0.02 + 12_288 * 8e-6 + 0.01,
        "split 1": 4 * 0.005 + 0.02 + 0.0008 + 0.005,
    })  # fmt: skip
    assert found.fastest.place is Place.DEVICE


def test_a_split_has_to_beat_the_usual_picture_though_that_is_not_accurate_enough() -> None:
    found = compare(measured(), SLOW, 4.0, 0.99)
    assert found.to_beat_s == pytest.approx(0.02 + 0.02 + 0.01)
    assert found.pays is False
    assert compare(measured(picture_bytes=40_000.0), SLOW, 4.0, 0.99).pays is True


def test_a_split_pays_where_bytes_are_dear_and_not_where_they_are_cheap() -> None:
    study = measured(picture_bytes=40_000.0)
    slow, fast = (compare(study, link, 4.0, 0.99) for link in (SLOW, FAST))
    assert (slow.pays, fast.pays) == (True, False)
    assert [cut.number for cut in worth_it(study, [slow, fast])] == [1]
    assert worth_it(study, [fast]) == ()


def test_what_is_not_accurate_enough_is_no_way() -> None:
    found = compare(measured(accuracy=0.98, picture_bytes=40_000.0), SLOW, 4.0, 0.99)
    assert found.best(Place.SPLIT) is None and found.pays is False


def test_a_head_that_is_most_of_the_model_can_be_left_out() -> None:
    assert compare(measured(), SLOW, 4.0, 0.99, most_head_share=0.4).best(Place.SPLIT) is None


@pytest.mark.parametrize("link", [SLOW, FAST])
@pytest.mark.parametrize("picture_bytes", [1_000.0, 10_000.0, 40_000.0])
def test_a_cut_that_pays_could_pay(link: Uplink, picture_bytes: float) -> None:
    study = measured(feature_bytes=64.0, picture_bytes=picture_bytes)
    if compare(study, link, 4.0, 0.99).pays:
        assert could_pay(study, study.cuts[0], link, 4.0, 0.99)
    without = dataclasses.replace(study.cuts[0], head_s=10.0)
    assert not could_pay(study, without, link, 4.0, 0.99)


def test_the_minimum_cut_agrees_with_the_places() -> None:
    """With a server that is much faster than the device and a link that carries features and no pictures."""
    study = measured(feature_bytes=64.0, picture_bytes=400_000.0)
    division = best_division(study, Uplink(1e6, 0.0), 20.0, 0.99)
    assert division.crossing and "c1" in division.device and "c3" not in division.device
    assert best_division(study, Uplink(1e4, 0.0), 2.0, 0.99).crossing == ()
