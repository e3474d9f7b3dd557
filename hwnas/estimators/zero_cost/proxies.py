"""The proxies by name."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hwnas.errors import PluginError
from hwnas.estimators.zero_cost.activation_codes import naswot
from hwnas.estimators.zero_cost.input_jacobian import jacobian_covariance
from hwnas.estimators.zero_cost.loss_gradients import gradient_norm, snip, zico
from hwnas.estimators.zero_cost.synflow import synflow
from hwnas.estimators.zero_cost.untrained_network import UntrainedNetwork
from hwnas.graph.counts import count_graph

__all__ = ["PROXIES", "Proxy", "get_proxies"]


@dataclass(frozen=True)
class Proxy:
    """A score that is higher for networks that are likely better.

    Args:
        name: On the command line.
        function: The score. Anything that is not finite says that the network is useless.
    """

    name: str
    function: Callable[[UntrainedNetwork], float]

    def score(self, network: UntrainedNetwork) -> float:
        """The score; minus infinity in place of anything that is not finite."""
        found = self.function(network)
        return found if math.isfinite(found) else -math.inf


def macs(network: UntrainedNetwork) -> float:
    """Multiply-accumulates: what a proxy must beat."""
    return float(count_graph(network.graph).macs)


def params(network: UntrainedNetwork) -> float:
    """Trainable weights: what a proxy must beat."""
    return float(count_graph(network.graph).params)


PROXIES: dict[str, Proxy] = {
    proxy.name: proxy
    for proxy in (
        Proxy("grad_norm", gradient_norm),
        Proxy("jacob_cov", jacobian_covariance),
        Proxy("macs", macs),
        Proxy("naswot", naswot),
        Proxy("params", params),
        Proxy("snip", snip),
        Proxy("synflow", synflow),
        Proxy("zico", zico),
    )
}


def get_proxies(names: Sequence[str]) -> tuple[Proxy, ...]:
    """Proxies by their names, in that order.

    Raises:
        PluginError: None is named, one is named twice, or there is none of a name.
    """
    for name in names:
        if name not in PROXIES:
            known = ", ".join(sorted(PROXIES))
            raise PluginError(f"unknown proxy {name!r}; available: {known}")
    if not names or len(set(names)) != len(names):
        raise PluginError(f"name each proxy once, such as naswot,synflow; given: {list(names)}")
    return tuple(PROXIES[name] for name in names)
