"""REINFORCE on a controller: rewarded decisions become more probable.

Yang et al. (NASAIC), DAC 2020:

    grad J = 1/M sum over m, t of gamma^(T - t) grad log pi(a_t | a_<t) (R_m - b)

with a moving average b of the rewards (Williams, Simple Statistical Gradient-Following Algorithms,
Machine Learning 8, 1992).

Differs from the paper:

- The networks of an episode are credited with the best reward among its chips, against the moving
  average of those: what a network is worth is what the best chip makes of it. Chips are credited
  with their own rewards, against the episode's mean: all of them serve the same networks.
- Advantages are divided by a moving root mean square, because rewards differ by tenths while specs
  are broken and by thousandths once they are met.
- The entropy of the softmaxes is rewarded, at first by `entropy_weight` and less and less to the
  end, so that they do not collapse before good designs are known.
- Updates are Adam's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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

_LEAST_DEVIATION = 1e-6  # of rewards; below it is rounding


@dataclass(frozen=True)
class PolicyOptions:
    """How the controller learns; values without a source were chosen on the toy of the benchmark.

    Args:
        hidden: Width of the LSTM.
        learning_rate: Of Adam.
        discount: gamma, per decision.
        baseline_decay: Of the moving averages.
        entropy_weight: Reward of a nat of entropy of a decision, in units of advantage.
    """

    hidden: int = 64
    learning_rate: float = 5e-3
    discount: float = 0.99
    baseline_decay: float = 0.95
    entropy_weight: float = 0.5


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
        # Of the best reward, and of the squared advantages of networks and of chips.
        self._averages = np.zeros(3)

    @property
    def baseline(self) -> float:
        """b: the moving average of episodes' best rewards; NaN before the first."""
        if not self._updates:
            return float("nan")
        return float(self._averages[0] / (1.0 - self.options.baseline_decay**self._updates))

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
            "averages": self._averages.copy(),
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
        averages = restored_array(state, "averages", np.float64, 1)
        if not isinstance(updates, int) or updates < 0 or averages.shape != (3,):
            raise RunError("checkpoint does not say how far the controller has learnt")
        names = ("parameters", "moment1", "moment2") if updates else ("parameters",)
        vectors = {name: restored_array(state, name, np.float32, 1) for name in names}
        if any(len(vector) != length for vector in vectors.values()):
            raise RunError("checkpoint is of a controller of another size; start afresh")
        restore_generator(self._rng, restored_text(state, "rng"))
        vector_to_parameters(torch.from_numpy(vectors["parameters"]), parameters)
        self._updates, self._averages = updates, averages
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
        """Of the networks and `(n,)` of the chips; the averages take this batch in afterwards."""
        best = float(rewards.max())
        of_networks = best - (self.baseline if self._updates else best)
        # A chip alone has no company to be compared with but that of the past.
        of_chips = rewards - rewards.mean() if len(rewards) > 1 else np.array([of_networks])
        decay = self.options.baseline_decay
        seen = np.array([best, of_networks**2, float((of_chips**2).mean())])
        self._averages = decay * self._averages + (1.0 - decay) * seen
        self._updates += 1
        squares = self._averages[1:] / (1.0 - decay**self._updates)
        scales = np.maximum(np.sqrt(squares), _LEAST_DEVIATION)
        return of_networks / float(scales[0]), of_chips / scales[1]


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread an operator: of a network this small others only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
