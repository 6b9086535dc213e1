"""The KL as a constraint instead of a term of the loss: how far weights go back after a step that went over."""

from __future__ import annotations

import math


def step_back(excess: float, squared_norm: float, longest: float) -> float:
    """Return a of theta <- theta - a g, with g the gradient of the KL and `squared_norm` its ||g||^2.

    SPAG (SPARD, ICML 2026): a = min((KL - limit) / ||g||^2, eta), the shortest move after which the KL, taken as
    linear, is at the limit. `excess` is KL - limit, in nats; where it is not above 0, nothing moves. There eta is a
    factor of the gradient; here the move is at most `longest` long, whatever the gradient is: a <= longest / ||g||.
    """
    if excess <= 0 or squared_norm == 0:
        return 0.0
    return min(excess / squared_norm, longest / math.sqrt(squared_norm))
