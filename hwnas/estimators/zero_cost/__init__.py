"""Zero-cost proxies: networks judged by their initial weights, without any training."""

from hwnas.estimators.zero_cost.estimator import DEFAULT_PROXIES, ZeroCostEstimator
from hwnas.estimators.zero_cost.proxies import PROXIES, Proxy, get_proxies
from hwnas.estimators.zero_cost.untrained_network import UntrainedNetwork

__all__ = [
    "DEFAULT_PROXIES",
    "PROXIES",
    "Proxy",
    "UntrainedNetwork",
    "ZeroCostEstimator",
    "get_proxies",
]
