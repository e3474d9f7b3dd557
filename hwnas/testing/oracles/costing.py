"""NumPy and plain Python twins of the native costing engine.

Each function is the definition of the routine of the same name in `hwnas._core`, written to be
read and not to be fast. The tests compare the two.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_WORD = (1 << 64) - 1


def slots(
    population: npt.NDArray[np.uint8],
    option_counts: npt.NDArray[np.uint8],
    block_decisions: Sequence[Sequence[int]],
) -> npt.NDArray[np.uint32]:
    """Slot number of each choice block in each architecture.

    Args:
        population: option indices, shape (n, d).
        option_counts: options of each decision, shape (d,).
        block_decisions: the decisions that each block reads, the most significant first.

    Returns:
        Slot numbers, shape (n, blocks).
    """
    numbers = np.zeros((len(population), len(block_decisions)), np.uint32)
    for block, decisions in enumerate(block_decisions):
        for decision in decisions:
            numbers[:, block] *= np.uint32(option_counts[decision])
            numbers[:, block] += population[:, decision]
    return numbers


def cost(
    population: npt.NDArray[np.uint8],
    option_counts: npt.NDArray[np.uint8],
    block_decisions: Sequence[Sequence[int]],
    block_costs: Sequence[npt.NDArray[np.float64]],
    constant: npt.NDArray[np.float64],
    reductions: Sequence[str],
) -> npt.NDArray[np.float64]:
    """Costs of a population in float64.

    Args:
        population: option indices, shape (n, d).
        option_counts: options of each decision, shape (d,).
        block_decisions: the decisions that each block reads, the most significant first.
        block_costs: costs of each block, shape (slots, m) each; NaN where not measured.
        constant: cost of what every architecture has, shape (m,).
        reductions: "sum" or "max" for each metric.

    Returns:
        Costs, shape (n, m); NaN where an architecture uses a slot that was not measured.
    """
    numbers = slots(population, option_counts, block_decisions)
    total = np.repeat(constant[np.newaxis, :], len(population), axis=0)
    is_max = np.array([name == "max" for name in reductions], dtype=bool)
    for block, table in enumerate(block_costs):
        term = table[numbers[:, block]]
        total = np.where(is_max, np.maximum(total, term), total + term)
    return total


def canonicalise(
    population: npt.NDArray[np.uint8],
    parents: npt.NDArray[np.int32],
    active: npt.NDArray[np.uint8],
) -> npt.NDArray[np.uint8]:
    """A copy of the population with every inactive decision set to option 0.

    Args:
        population: option indices, shape (n, d).
        parents: the decision that each depends on, or -1, shape (d,).
        active: whether each option of the parent activates the decision, shape (d, 256).

    Returns:
        The canonical population, shape (n, d).
    """
    canonical = population.copy()
    is_active = np.ones(population.shape, dtype=bool)
    for column, parent in enumerate(parents):
        if parent >= 0:
            is_active[:, column] = is_active[:, parent] & (
                active[column, canonical[:, parent]] != 0
            )
            canonical[~is_active[:, column], column] = 0
    return canonical


def canonical_key(
    labels: Sequence[bytes], edges: npt.NDArray[np.int32], outputs: npt.NDArray[np.int32]
) -> bytes:
    """128-bit key of a labelled acyclic graph all of whose nodes reach an output.

    Args:
        labels: one a node.
        edges: rows (source, destination, input slot), shape (e, 3).
        outputs: nodes that the graph returns, in order, shape (k,).

    Returns:
        16 bytes.

    Raises:
        ValueError: a node reaches no output; the twin leaves these to the native routine.
    """
    inputs: list[list[tuple[int, int]]] = [[] for _ in labels]
    for source, destination, slot in edges.tolist():
        inputs[destination].append((slot, source))
    number: dict[int, int] = {}

    def visit(node: int) -> None:
        if node not in number:
            number[node] = len(number)
            for _, source in sorted(inputs[node]):
                visit(source)

    for output in outputs.tolist():
        visit(output)
    if len(number) < len(labels):
        raise ValueError("a node reaches no output")

    words = [1, len(number)]
    for node in number:
        words += [len(labels[node])]
        words += [
            int.from_bytes(labels[node][i : i + 8], "little")
            for i in range(0, len(labels[node]), 8)
        ]
        words += [len(inputs[node])]
        words += [slot << 32 | number[source] for slot, source in sorted(inputs[node])]
    words += [len(outputs), *(number[output] for output in outputs.tolist()), 0]

    a, b = 0x243F6A8885A308D3, 0x13198A2E03707344
    for word in words:
        a, b = _mix(a, b, word)
    a, b = _mix(a, b, (a + b) & _WORD)
    return a.to_bytes(8, "little") + b.to_bytes(8, "little")


def _mix(a: int, b: int, word: int) -> tuple[int, int]:
    a ^= word
    a = ((a ^ a >> 33) * 0xFF51AFD7ED558CCD) & _WORD
    a = ((a ^ a >> 33) * 0xC4CEB9FE1A85EC53) & _WORD
    b ^= (word + 0x9E3779B97F4A7C15) & _WORD
    b = ((b ^ b >> 30) * 0xBF58476D1CE4E5B9) & _WORD
    b = ((b ^ b >> 27) * 0x94D049BB133111EB) & _WORD
    return a ^ a >> 33, b ^ b >> 31
