"""Chance by address: a random number is a hash of where it is used, so any part can be made alone.

The generator is splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
generators") read as a function of its counter: ``mix(key + counter * STEP)``. Nothing is drawn in
order, so neither threads nor the way the work is cut can change a value.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

Keys = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)
_MIDDLE: Final = 0.47575
"""Half-width of the range of probabilities that Acklam's middle form covers."""
_S30, _S27, _S31, _S32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)


@njit(nogil=True, cache=True, inline="always")
def mix(key: np.uint64, counter: int) -> np.uint64:  # pragma: no cover - compiled
    """64 random bits of stream ``key`` at ``counter``; `bits` is its twin for arrays."""
    x = key + np.uint64(counter) * STEP
    x = (x ^ (x >> _S30)) * _FIRST
    x = (x ^ (x >> _S27)) * _SECOND
    return x ^ (x >> _S31)


def bits(key: npt.ArrayLike, counter: npt.ArrayLike) -> Keys:
    """64 random bits of each stream ``key`` (uint64) at each ``counter`` (any integers), broadcast."""
    with np.errstate(over="ignore"):
        x = np.asarray(key, np.uint64) + np.asarray(counter).astype(np.uint64) * STEP
        x = (x ^ (x >> _S30)) * _FIRST
        x = (x ^ (x >> _S27)) * _SECOND
        return np.asarray(x ^ (x >> _S31), np.uint64)


def stream(seed: npt.ArrayLike, *names: str | int) -> Keys:
    """Key of a named stream below ``seed``: a number for a number, an array for an array."""
    key = np.asarray(seed).astype(np.uint64)
    for name in names:
        number = name if isinstance(name, int) else int.from_bytes(name.encode()[:7], "big")
        key = bits(bits(key, number), len(str(name)))
    return key


def uniform(key: npt.ArrayLike, counter: npt.ArrayLike) -> Floats:
    """Numbers in [0, 1), 53 bits each."""
    return np.asarray((bits(key, counter) >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def spread(seed: npt.ArrayLike, dimension: int, count: int) -> Floats:
    """``count`` numbers in (0, 1) that fill the interval evenly from the first few on.

    A Kronecker sequence on the roots of x**9 = x + 1 (Roberts 2018, "The unreasonable effectiveness of
    quasirandom sequences"): shares and means of a small fleet come out right, and a larger fleet
    begins with the smaller one. ``dimension`` is 1 to 8.
    """
    root = 2.0
    for _ in range(64):
        root = (1.0 + root) ** (1.0 / 9.0)
    begin = uniform(stream(seed, "spread"), dimension)
    return np.asarray((begin + np.arange(1, count + 1) * root**-dimension) % 1.0)


def normal(chance: Floats) -> Floats:
    """Standard normal value at each probability in (0, 1); Acklam's rational form, error below 2e-9.

    Kept to + - * / sqrt and one logarithm, so that machines agree on it.
    """
    a = (-39.69683028665376, 220.9460984245205, -275.9285104469687, 138.3577518672690,
         -30.66479806614716, 2.506628277459239)  # fmt: skip
    b = (-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572)
    c = (-0.007784894002430293, -0.3223964580411365, -2.400758277161838, -2.549732539343734,
         4.374664141464968, 2.938163982698783)  # fmt: skip
    d = (0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416)
    p = np.clip(chance, 1e-12, 1 - 1e-12)
    q = p - 0.5
    r = q * q
    middle = np.polyval(a, r) * q / np.polyval((*b, 1.0), r)
    t = np.sqrt(-2 * np.log(np.minimum(p, 1 - p)))
    tail = np.polyval(c, t) / np.polyval((*d, 1.0), t)
    return np.asarray(np.where(np.abs(q) <= _MIDDLE, middle, np.where(q < 0, tail, -tail)))


def lognormal(chance: Floats, sigma: float) -> Floats:
    """Log-normal values of mean 1 and the given sigma of the logarithm, to nine digits."""
    return np.asarray(np.round(np.exp(sigma * normal(chance) - sigma * sigma / 2), 9))


def table(kind: str, size: int, sigma: float = 1.0) -> Floats:
    """``size`` equally likely values of mean exactly 1: ``exponential`` or ``lognormal``."""
    middle = (np.arange(size) + 0.5) / size
    values = -np.log(1 - middle) if kind == "exponential" else lognormal(middle, sigma)
    return np.asarray(values / math.fsum(values) * size)


@njit(nogil=True, cache=True)
def uniforms(keys: Keys, first: int, count: int) -> npt.NDArray[Any]:  # pragma: no cover - compiled
    """Matrix (keys x count) of uint32 at the counters from ``first`` on."""
    out = np.empty((len(keys), count), np.uint32)
    for i in range(len(keys)):
        for j in range(count):
            out[i, j] = np.uint32(mix(keys[i], first + j) >> _S32)
    return out
