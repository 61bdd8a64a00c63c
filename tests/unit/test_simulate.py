"""What simulated meters are like: addressable, plausible, and where they say they are."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterlake.errors import Invalid
from meterlake.readings import MILLI
from meterlake.simulate import CHANNELS, Fleet, SimulateOptions, amounts, parse_faults, plan
from meterlake.simulate.chance import bits, lognormal, mix, normal, spread, table, uniform
from meterlake.simulate.cities import CITIES
from meterlake.simulate.places import FEEDER_MAX, KM_A_DEGREE, habitable, hang, place, within
from meterlake.simulate.weather import local_seconds, temperature

YEAR_S = 1_767_225_600
"""2026-01-01T00:00:00Z."""
HALF_HOURS = 365 * 48
BOXES = {
    "London": (51.28, 51.70, -0.52, 0.34),
    "New York": (40.49, 40.92, -74.26, -73.70),
    "Sydney": (-34.12, -33.68, 150.85, 151.32),
}


def fleet(points: int = 40, **options: object) -> Fleet:
    return plan(SimulateOptions(points=points, **options))  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(
    channel=st.sampled_from(sorted(CHANNELS)),
    interval_s=st.sampled_from([5, 225, 300, 900, 1800, 3600]),
    start=st.integers(-50, 20_000),
    cut=st.integers(1, 59),
    some=st.lists(st.integers(0, 39), min_size=1),
)
def test_making_it_in_pieces_equals_making_it_whole(
    channel: str, interval_s: int, start: int, cut: int, some: list[int]
) -> None:
    meters = fleet(interval_s=interval_s, profile="au", seed=7)
    first = YEAR_S // interval_s + start
    whole = amounts(meters, channel, first, 60)
    left = amounts(meters, channel, first, cut, np.array(some))
    right = amounts(meters, channel, first + cut, 60 - cut, np.array(some))
    assert np.array_equal(np.hstack([left, right]), whole[some])


def test_a_larger_fleet_begins_with_the_smaller_one() -> None:
    small, large = fleet(30), fleet(300)
    first = YEAR_S // 1800
    for channel in CHANNELS:
        few, many = amounts(small, channel, first, 96), amounts(large, channel, first, 96)
        assert np.array_equal(few, many[:30])
    assert np.array_equal(small.latitude, large.latitude[:30])


def test_another_seed_makes_other_meters() -> None:
    one, other = fleet(seed=1), fleet(seed=2)
    first = YEAR_S // 1800
    same = amounts(one, "electricity.import", first, 480) == amounts(other, "electricity.import", first, 480)
    assert same.mean() < 0.05


@pytest.mark.parametrize(("profile", "monthly_kwh"), [("uk", 300), ("us", 900)])
def test_a_household_uses_its_profiles_electricity_in_an_average_month(
    profile: str, monthly_kwh: float
) -> None:
    meters = fleet(800, profile=profile)
    months = amounts(meters, "electricity.import", YEAR_S // 1800, HALF_HOURS).sum(1) / MILLI / 12
    homes = months[~meters.business]
    assert homes.mean() == pytest.approx(monthly_kwh, rel=0.05)
    assert np.percentile(homes, 95) > 4 * np.percentile(homes, 5)
    assert months[meters.business].mean() > 3 * homes.mean()


def test_a_household_uses_british_amounts_of_gas_and_water() -> None:
    meters = fleet(400)
    homes = np.flatnonzero(~meters.business)
    year = {
        channel: amounts(meters, channel, YEAR_S // 1800, HALF_HOURS, homes).sum(1).mean() / MILLI
        for channel in ("gas.import", "water.import")
    }
    assert year["gas.import"] == pytest.approx(1040, rel=0.1)
    assert year["water.import"] == pytest.approx(124, rel=0.1)


def test_households_and_businesses_are_94_to_6() -> None:
    for seed in range(5):
        assert fleet(1000, seed=seed).business.mean() == pytest.approx(0.06, abs=0.004)


def test_gas_follows_the_cold() -> None:
    meters = fleet(100)
    gas = amounts(meters, "gas.import", YEAR_S // 1800, HALF_HOURS).sum(0).reshape(365, 48).sum(1)
    seconds = YEAR_S + np.arange(HALF_HOURS) * 1800
    air = temperature(meters.profile.climate, 1, seconds, seconds).reshape(365, 48).mean(1)
    assert np.corrcoef(gas, air)[0, 1] < -0.85
    assert gas[:31].sum() > 4 * gas[181:212].sum()


def test_water_follows_the_clock_and_stands_still_in_between() -> None:
    meters = fleet(200)
    homes = np.flatnonzero(~meters.business)
    day = amounts(meters, "water.import", YEAR_S // 1800, 28 * 48, homes)
    assert 0.4 < (day == 0).mean() < 0.8
    by_slot = day.sum(0).reshape(28, 48).sum(0)
    night, morning, evening = by_slot[2:8].sum(), by_slot[13:19].sum(), by_slot[34:40].sum()
    assert morning > 8 * night
    assert evening > 5 * night


def test_offices_rest_at_weekends_and_homes_do_not() -> None:
    meters = fleet(600)
    load = amounts(meters, "electricity.import", (YEAR_S + 4 * 86_400) // 1800, 28 * 48)  # from a Monday on
    days = load.reshape(len(load), 4, 7, 48).sum((1, 3))
    office = meters.loads["electricity"].habit == 4
    weekday, weekend = days[:, :5].mean(1), days[:, 5:].mean(1)
    assert (weekday[office] > 1.5 * weekend[office]).mean() > 0.9
    homes = ~meters.business
    assert weekend[homes].mean() == pytest.approx(weekday[homes].mean(), rel=0.25)


def test_only_panels_export_and_only_while_the_sun_is_up() -> None:
    meters = fleet(200, profile="au")
    export = amounts(meters, "electricity.export", YEAR_S // 1800, 7 * 48)
    taken = amounts(meters, "electricity.import", YEAR_S // 1800, 7 * 48)
    assert meters.solar.mean() == pytest.approx(0.28, abs=0.05)
    assert not export[~meters.solar].any()
    assert (export[meters.solar].sum(1) > 0).all()
    assert not ((export > 0) & (taken > meters.grain)).any()
    hour = np.arange(7 * 48) % 48 // 2  # Sydney's summer night is 10 to 18 UTC
    assert not export[:, (hour >= 10) & (hour < 18)].any()


@pytest.mark.parametrize("interval_s", [1, 5, 60, 300, 900, 3600])
def test_any_length_of_interval_adds_up_to_about_the_same(interval_s: int) -> None:
    """Other lengths are other series, not the same one cut up: means agree and single values need not."""
    points = 30 if interval_s < 60 else 200
    usual, other = fleet(points), fleet(points, interval_s=interval_s)
    homes = np.flatnonzero(~usual.business)
    for channel in ("electricity.import", "gas.import", "water.import"):
        expected = amounts(usual, channel, YEAR_S // 1800, 48, homes).sum()
        made = amounts(other, channel, YEAR_S // interval_s, 86_400 // interval_s, homes)
        assert made.sum() == pytest.approx(expected, rel=0.3)
        assert not (made % other.grain).any()
        assert (made >= 0).all()


@pytest.mark.parametrize("name", sorted(CITIES))
def test_points_are_on_land_in_their_city(name: str) -> None:
    city = CITIES[name]
    south, north, west, east = BOXES[name]
    latitude, longitude = place(city, 3, 3000, np.ones(3000))
    assert habitable(city, latitude, longitude).all()
    assert ((south < latitude) & (latitude < north) & (west < longitude) & (longitude < east)).all()
    centres = np.array([(d.latitude, d.longitude) for d in city.districts])
    assert habitable(city, centres[:, 0], centres[:, 1]).all()
    cells = np.unique(np.stack([latitude // 0.02, longitude // 0.03]), axis=1, return_counts=True)[1]
    busiest_fifth = np.sort(cells)[-len(cells) // 5 :]
    assert busiest_fifth.sum() > 0.4 * 3000


@pytest.mark.parametrize(
    ("name", "latitude", "longitude"),
    [
        ("London", 51.5072, -0.1195),  # the Thames at Waterloo Bridge
        ("London", 51.44, 151.2),
        ("New York", 40.7000, -74.0300),  # the harbour
        ("New York", 40.7829, -73.9654),  # Central Park
        ("New York", 40.6200, -73.8300),  # Jamaica Bay
        ("Sydney", -33.8520, 151.2300),  # the harbour
        ("Sydney", -34.0000, 151.2000),  # Botany Bay
        ("Sydney", -33.9000, 151.3500),  # the Pacific
    ],
)
def test_nobody_lives_in_the_water(name: str, latitude: float, longitude: float) -> None:
    assert not habitable(CITIES[name], np.array([latitude]), np.array([longitude])).any()


def test_within_a_ring_is_within_it() -> None:
    square = ((0.0, 0.0), (0.0, 2.0), (2.0, 2.0), (2.0, 0.0))
    inside = within(square, np.array([1.0, 3.0, 1.0, -1.0]), np.array([1.0, 1.0, 3.0, 1.0]))
    assert inside.tolist() == [True, False, False, False]


@pytest.mark.parametrize("count", [1, 60, 81, 1000, 5000])
def test_a_transformer_feeds_40_to_80_neighbours(count: int) -> None:
    latitude, longitude = place(CITIES["London"], 1, count, np.ones(count))
    feeder, transformer = hang(latitude, longitude)
    sizes = np.bincount(transformer)
    assert sizes.max() <= 80
    assert count <= 80 or sizes.min() >= 40
    assert np.bincount(feeder).max() <= FEEDER_MAX
    for number in np.unique(transformer):  # a transformer hangs on one feeder
        assert len(np.unique(feeder[transformer == number])) == 1
    if count == 5000:
        reach = [np.ptp(latitude[transformer == number]) * KM_A_DEGREE for number in np.unique(transformer)]
        assert np.median(reach) < 8


def test_local_time_is_that_of_the_zone_on_both_days_of_change() -> None:
    for name in ("Europe/London", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"):
        begin = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
        seconds = begin + np.arange(365 * 96) * 900
        local = local_seconds(name, seconds)
        for i in range(0, len(seconds), 37):
            wall = datetime.fromtimestamp(int(seconds[i]), ZoneInfo(name)).replace(tzinfo=UTC)
            assert int(wall.timestamp()) == local[i]
    assert len(local_seconds("UTC", np.empty(0, np.int64))) == 0


def test_chance_is_the_same_compiled_and_as_arrays() -> None:
    keys = bits(9, np.arange(50))
    assert [mix(key, 12345) for key in keys] == bits(keys, 12345).tolist()
    assert abs(uniform(keys[0], np.arange(20_000)).mean() - 0.5) < 0.01


def test_chance_has_the_distributions_it_says() -> None:
    tails = normal(np.array([0.5, 0.975, 0.025, 0.001]))
    assert tails == pytest.approx([0, 1.959964, -1.959964, -3.090232], abs=1e-5)
    even = spread(1, 4, 20_000)
    assert lognormal(even, 0.5).mean() == pytest.approx(1, abs=0.01)
    assert np.histogram(even[:100], 10, (0, 1))[0].tolist() == pytest.approx([10] * 10, abs=2)
    for kind in ("exponential", "lognormal"):
        assert table(kind, 256).mean() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": 0}, "0 points"),
        ({"days": 0}, "0 days"),
        ({"seed": -1}, "seed -1"),
        ({"files": 41}, "41 files"),
        ({"interval_s": 7}, "7 s does not divide an hour"),
        ({"interval_s": 7200}, "does not divide an hour"),
        ({"profile": "fr"}, "profile 'fr' is unknown"),
        ({"utilities": ("heat",)}, "utilities"),
        ({"utilities": ("gas", "gas")}, "once at most"),
        ({"faults": {"gremlins": 0.1}}, "'gremlins' is unknown"),
        ({"faults": {"missing": 0.9}}, "missing=0.9: the share is 0 to 0.5"),
    ],
)
def test_what_cannot_be_simulated_is_refused_with_a_reason(options: dict[str, object], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        fleet(**{"points": 40, **options})  # type: ignore[arg-type]


def test_a_channel_that_the_fleet_lacks_is_refused() -> None:
    with pytest.raises(Invalid, match=r"no channel 'gas.import': ask for one of water.import"):
        amounts(fleet(utilities=("water",)), "gas.import", 0, 1)


def test_faults_are_read_from_one_line() -> None:
    assert parse_faults(" missing=0.01, late=0.02 ,") == {"missing": 0.01, "late": 0.02}
    assert parse_faults("") == {}
    with pytest.raises(Invalid, match=r"missing=0\.01"):
        parse_faults("missing")
