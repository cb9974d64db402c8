"""The table of aspect ratios, sizes that match a source picture, and what small weights draw instead."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxfarm.sizes import BY_RATIO, OWN_AREA, Size, for_ratio, matching, nearest_legal, render_size

NATIVE_AREA = {"1": 1024 * 1024, "0.25": 512 * 512}
repeatable = settings(max_examples=100, derandomize=True, database=None, deadline=None)
megapixels = st.sampled_from(["1", "0.25"])
sources = st.builds(Size, st.integers(1, 20_000), st.integers(1, 20_000))
legal_sides = st.integers(16, 90).map(lambda n: n * 16)


def off(one: float, other: float) -> float:
    """How far two quantities lie apart, as a factor of at least 1."""
    return max(one / other, other / one)


def shape(size: Size) -> float:
    return size.width / size.height


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        ("1:1", Size(1024, 1024)),
        ("16:9", Size(1344, 768)),
        ("21:9", Size(1536, 640)),
        ("3:2", Size(1216, 832)),
        ("2:3", Size(832, 1216)),
        ("4:5", Size(896, 1088)),
        ("5:4", Size(1088, 896)),
        ("3:4", Size(896, 1152)),
        ("4:3", Size(1152, 896)),
        ("9:16", Size(768, 1344)),
        ("9:21", Size(640, 1536)),
    ],
)
def test_the_table_is_what_clients_of_hosted_flux_know(ratio: str, expected: Size) -> None:
    assert for_ratio(ratio, "1") == expected
    assert for_ratio(ratio, "0.25") == Size(expected.width // 2, expected.height // 2)


def test_the_table_has_eleven_ratios_in_multiples_of_16_also_halved() -> None:
    sizes = [for_ratio(ratio, choice) for ratio in BY_RATIO for choice in NATIVE_AREA]

    assert len(sizes) == 22
    assert all(size.width % 16 == size.height % 16 == 0 for size in sizes)


@repeatable
@given(sources, megapixels)
def test_matching_gives_a_legal_size(source: Size, choice: str) -> None:
    found = matching(source, choice)

    assert all(256 <= side <= 1440 and side % 16 == 0 for side in (found.width, found.height))


@repeatable
@given(st.floats(0.5, 2), st.integers(300, 9000), megapixels)
def test_matching_keeps_proportions_at_the_native_area(ratio: float, height: int, choice: str) -> None:
    source = Size(round(height * ratio), height)

    found = matching(source, choice)

    assert off(shape(found), shape(source)) < 1.02
    assert off(found.width * found.height, NATIVE_AREA[choice]) < 1.2


@repeatable
@given(st.floats(256 / 1440, 1440 / 256), megapixels)
def test_matching_keeps_wide_proportions_at_the_price_of_area(ratio: float, choice: str) -> None:
    source = Size(round(4000 * ratio), 4000)

    assert off(shape(matching(source, choice)), shape(source)) < 1.02


@pytest.mark.parametrize("choice", ["1", "0.25"])
@pytest.mark.parametrize("ratio", sorted(BY_RATIO.keys() - {"21:9", "9:21"}))
def test_our_own_pictures_match_themselves(ratio: str, choice: str) -> None:
    assert matching(for_ratio(ratio, choice), choice) == for_ratio(ratio, choice)


@pytest.mark.parametrize(
    ("source", "own"),
    [
        (Size(512, 320), Size(512, 320)),
        (Size(1440, 1440), Size(1440, 1440)),
        (Size(500, 333), Size(480, 320)),
        (Size(3000, 2000), Size(1440, 960)),
        (Size(40, 40), Size(256, 256)),
    ],
)
def test_matching_may_keep_the_area_of_the_source(source: Size, own: Size) -> None:
    assert matching(source, OWN_AREA) == own


def test_extreme_proportions_are_clamped() -> None:
    assert matching(Size(10_000, 10), "1") == Size(1440, 256)
    assert matching(Size(1, 9_999), "0.25") == Size(256, 1440)


@pytest.mark.parametrize(
    ("asked", "legal"),
    [
        ((1000, 700), Size(1008, 704)),
        ((1024, 768), Size(1024, 768)),
        ((263, 264), Size(256, 272)),
        ((0, 9_999), Size(256, 1440)),
        ((-5, 10**400), Size(256, 1440)),
    ],
)
def test_the_nearest_legal_pair(asked: tuple[int, int], legal: Size) -> None:
    assert nearest_legal(*asked) == legal


@repeatable
@given(legal_sides, legal_sides, st.integers(16, 1024))
def test_small_weights_draw_multiples_of_16_that_are_not_larger(width: int, height: int, native_side: int) -> None:
    drawn = render_size(Size(width, height), native_side)

    assert drawn.width % 16 == drawn.height % 16 == 0
    assert 16 <= drawn.width <= max(width, height)
    assert 16 <= drawn.height <= max(width, height)


@pytest.mark.parametrize("native_side", [128, 192, 256, 512])
@pytest.mark.parametrize("ratio", sorted(BY_RATIO))
def test_small_weights_keep_the_shape_at_their_own_area(ratio: str, native_side: int) -> None:
    drawn = render_size(for_ratio(ratio, "1"), native_side)

    assert off(shape(drawn), shape(for_ratio(ratio, "1"))) < 1.06
    assert off(math.sqrt(drawn.width * drawn.height), native_side) < 1.1


def test_small_weights_by_example() -> None:
    assert render_size(Size(1024, 1024), 128) == Size(128, 128)
    assert render_size(Size(512, 512), 128) == Size(64, 64)
    assert render_size(Size(1344, 768), 128) == Size(176, 96)
    assert render_size(Size(256, 256), 16) == Size(16, 16)


@repeatable
@given(legal_sides, legal_sides, st.integers(1024, 4096))
def test_full_weights_draw_what_was_asked_for(width: int, height: int, native_side: int) -> None:
    assert render_size(Size(width, height), native_side) == Size(width, height)
