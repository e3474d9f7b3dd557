"""REINFORCE on a controller: rewarded decisions become more probable.

Yang et al. (NASAIC), DAC 2020:

    grad J = 1/M sum over m, t of gamma^(T - t) grad log pi(a_t | a_<t) (R_m - b)

with a moving average b of the rewards (Williams, Simple Statistical Gradient-Following Algorithms,
Machine Learning 8, 1992).

Differs from the paper:

- The networks of an episode are credited with the best reward among its chips: what a network is
  worth is what the best chip makes of it. Chips are credited with their own rewards, against those
  of the episode: all of them serve the same networks.
- In place of R - b stands the rank of R, among the episodes of a window for networks and within
  the episode for chips, scaled to mean 0 and variance 1 (fitness shaping: Wierstra et al., Natural
  Evolution Strategies, JMLR 15, 2014, section 3.1). Rewards jump by the whole accuracy where specs
  are met and differ by thousandths from there on; ranks tell both apart alike.
- The entropy of the softmaxes is rewarded, at first by `entropy_weight` and less and less to the
  end, so that they do not collapse before good designs are known.
- Updates are Adam's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from hwnas.cosearch.controller import Controller, Draw, Flags
from hwnas.errors import RunError
from hwnas.search import State
from hwnas.search.checkpoint import generator_state, restore_generator
from hwnas.search.strategy import restored_array, restored_text

__all__ = ["PolicyGradient", "PolicyOptions"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PolicyOptions:
    """How the controller learns.

    Values without a source were chosen on the toy of the benchmark, and on its first workload with
    other errors or other seeds.

    Args:
        hidden: Width of the LSTM.
        learning_rate: Of Adam.
        discount: gamma, per decision.
        window: Episodes among which a reward is ranked.
        entropy_weight: Reward of a nat of entropy of a decision, in units of advantage.
    """

    hidden: int = 64
    learning_rate: float = 5e-3
    discount: float = 0.99
    window: int = 64
    entropy_weight: float = 1.0


class PolicyGradient:
    """A controller, and how it learns from rewards.

    Args:
        option_counts: Options of each decision, `(d,)`.
        rng: The only source of chance; the controller's first weights too come from it.
        options: How it learns.
    """

    def __init__(
        self,
        option_counts: npt.NDArray[np.uint8],
        rng: np.random.Generator,
        options: PolicyOptions | None = None,
    ) -> None:
        self.options = options or PolicyOptions()
        self._rng = rng
        width = len(option_counts)
        seed = int(rng.integers(2**31))
        self.controller = Controller(option_counts.tolist(), self.options.hidden, seed)
        self._optimizer = torch.optim.Adam(
            self.controller.parameters(), lr=self.options.learning_rate
        )
        steps = torch.arange(width - 1, -1, -1, dtype=torch.float32)
        self._discounts = self.options.discount**steps
        self._updates = 0
        self._past = np.empty(0)  # best rewards of the last episodes, the oldest first

    def draw(self, free: Flags, given: npt.NDArray[np.int64]) -> Draw:
        """Sample rows; see `Controller.draw`.

        Args:
            free: `(n, d)`.
            given: `(d,)` option indices or -1.
        """
        with _one_thread():
            return self.controller.draw(self._rng.random(free.shape), free, given)

    def learn(
        self, draw: Draw, rewards: Floats, networks: int, entropy_share: float = 1.0
    ) -> None:
        """One update.

        Args:
            draw: What was sampled, with the gradients of its probabilities; all rows have the
                networks of the first.
            rewards: `(n,)`, finite.
            networks: Leading decisions, those of the networks.
            entropy_share: Part of the entropy's weight that counts.
        """
        of_networks, of_chips = self._advantages(rewards)
        credit = np.zeros(draw.rows.shape)
        credit[0, :networks] = of_networks
        credit[:, networks:] = of_chips[:, None] / len(rewards)
        share = np.zeros(draw.rows.shape)
        share[0, :networks] = 1.0
        share[:, networks:] = 1.0 / len(rewards)
        with _one_thread():
            scale = torch.from_numpy(credit).float() * self._discounts
            entropy = (draw.entropy * torch.from_numpy(share).float()).sum()
            gain = (draw.log_probability * scale).sum()
            loss = -(gain + self.options.entropy_weight * entropy_share * entropy)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()

    def state(self) -> State:
        """All that decides what is drawn next."""
        parameters = list(self.controller.parameters())
        moments = [self._optimizer.state[p] for p in parameters] if self._updates else []

        def flat(name: str) -> npt.NDArray[np.float32]:
            return parameters_to_vector([m[name] for m in moments]).numpy().copy()

        state: State = {
            "rng": generator_state(self._rng),
            "updates": self._updates,
            "past": self._past.copy(),
            "parameters": parameters_to_vector(parameters).detach().numpy().copy(),
        }
        if moments:
            state |= {"moment1": flat("exp_avg"), "moment2": flat("exp_avg_sq")}
        return state

    def restore(self, state: State) -> None:
        """Go on from a state.

        Args:
            state: What `state` returned; not trusted.

        Raises:
            RunError: It is malformed or of another controller.
        """
        parameters = list(self.controller.parameters())
        length = sum(parameter.numel() for parameter in parameters)
        updates = state.get("updates")
        past = restored_array(state, "past", np.float64, 1)
        if (
            not isinstance(updates, int)
            or updates < 0
            or len(past) != min(updates, self.options.window)
            or not np.isfinite(past).all()
        ):
            raise RunError("checkpoint does not say how far the controller has learnt")
        names = ("parameters", "moment1", "moment2") if updates else ("parameters",)
        vectors = {name: restored_array(state, name, np.float32, 1) for name in names}
        if any(len(vector) != length for vector in vectors.values()):
            raise RunError("checkpoint is of a controller of another size; start afresh")
        restore_generator(self._rng, restored_text(state, "rng"))
        vector_to_parameters(torch.from_numpy(vectors["parameters"]), parameters)
        self._updates, self._past = updates, past
        if updates:
            self._restore_moments(vectors, parameters)

    def _restore_moments(
        self, vectors: dict[str, npt.NDArray[np.float32]], parameters: list[torch.nn.Parameter]
    ) -> None:
        begin = 0
        for parameter in parameters:
            end = begin + parameter.numel()
            moments = (
                torch.from_numpy(vectors[name][begin:end].copy()).view_as(parameter)
                for name in ("moment1", "moment2")
            )
            first, second = moments
            self._optimizer.state[parameter] = {
                "step": torch.tensor(float(self._updates)),
                "exp_avg": first,
                "exp_avg_sq": second,
            }
            begin = end

    def _advantages(self, rewards: Floats) -> tuple[float, Floats]:
        """Of the networks and `(n,)` of the chips; the window takes this episode in afterwards."""
        best = rewards.max()
        of_networks = float(_standing(rewards.max(keepdims=True), self._past)[0])
        # A chip alone has no company to be compared with but that of the past.
        of_chips = _standing(rewards, rewards) if len(rewards) > 1 else np.array([of_networks])
        self._past = np.append(self._past, best)[-self.options.window :]
        self._updates += 1
        return of_networks, of_chips


def _standing(values: Floats, company: Floats) -> Floats:
    """Ranks of values in a company, ties in the middle, from -sqrt(3) to sqrt(3); 0 in none."""
    if not len(company):
        return np.zeros(len(values))
    below = (company < values[:, None]).mean(axis=1)
    equal = (company == values[:, None]).mean(axis=1)
    standing: Floats = (2.0 * below + equal - 1.0) * sqrt(3.0)
    return standing


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread an operator: of a network this small others only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
