"""Tournament, crossover and mutation one child and one decision at a time.

The native routine must agree with this bit for bit: both turn the same four words into the same
children. The order in which words are used is that of `hwnas/variation.hpp`.

References:
    [Bla18] Blackman, Vigna, Scrambled Linear Pseudorandom Number Generators, 2018 (xoshiro256**).
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["RandomWords", "vary"]

_MASK = (1 << 64) - 1


class RandomWords:
    """The xoshiro256** generator [Bla18], whose whole state is its four words.

    Args:
        seed: Four 64-bit words, not all 0.
    """

    def __init__(self, seed: NDArray[np.uint64]) -> None:
        self._state = [int(word) for word in seed]

    def next(self) -> int:
        """Returns the next 64-bit word."""
        s = self._state
        result = _rotate(s[1] * 5 & _MASK, 7) * 9 & _MASK
        shifted = s[1] << 17 & _MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= shifted
        s[3] = _rotate(s[3], 45)
        return result


def vary(
    population: NDArray[np.uint8],
    ranks: NDArray[np.int32],
    crowding: NDArray[np.float64],
    option_counts: NDArray[np.uint8],
    words: NDArray[np.uint64],
    count: int,
    crossover_probability: float,
    mutation_probability: float,
    crossover: str = "two-point",
) -> NDArray[np.uint8]:
    """Returns children `(count, d)`.

    Args:
        population: `(n, d)`, n at least 1.
        ranks: `(n,)`.
        crowding: `(n,)`.
        option_counts: `(d,)`.
        words: `(4,)`, the only source of chance.
        count: How many children.
        crossover_probability: Chance that a child has two parents.
        mutation_probability: Chance that a decision changes.
        crossover: `uniform` or `two-point`.
    """
    n, d = population.shape
    source = RandomWords(words)
    crossing = int(crossover_probability * 2**32)
    mutating = int(mutation_probability * 2**32)

    def tournament() -> list[int]:
        one, two = (_below(half, n) for half in _halves(source.next()))
        second = (ranks[two], -crowding[two]) < (ranks[one], -crowding[one])
        return [int(option) for option in population[two if second else one]]

    def mutated(option: int, j: int, bits: int) -> int:
        options = int(option_counts[j])
        return (option + 1 + _below(bits, options - 1)) % options

    children = np.empty((count, d), np.uint8)
    for row in children:
        mother, father = tournament(), tournament()
        child = list(mother)
        if _halves(source.next())[0] < crossing:
            if crossover == "uniform":
                mask = 0
                for j in range(d):
                    if j % 64 == 0:
                        mask = source.next()
                    if mask >> (j % 64) & 1:
                        child[j] = father[j]
            else:
                begin, end = sorted(_below(half, d + 1) for half in _halves(source.next()))
                child[begin:end] = father[begin:end]
        for j in range(d):
            whether, which = _halves(source.next())
            if whether < mutating and option_counts[j] > 1:
                child[j] = mutated(child[j], j, which)
        if mutating and child == mother:
            where, which = _halves(source.next())
            begin = _below(where, d)
            for j in (*range(begin, d), *range(begin)):
                if option_counts[j] > 1:
                    child[j] = mutated(child[j], j, which)
                    break
        row[:] = child
    return children


def _halves(word: int) -> tuple[int, int]:
    return word >> 32, word & 0xFFFFFFFF


def _below(bits: int, bound: int) -> int:
    return bits * bound >> 32


def _rotate(word: int, places: int) -> int:
    return (word << places | word >> (64 - places)) & _MASK
