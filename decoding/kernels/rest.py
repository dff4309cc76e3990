"""The weight of the logits of a row that are not listed: bounded from the maxima of their groups, or formed exactly."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..options.numpy_or_torch import Array, as_tensor, double, single
from .candidates import MASS_ERROR, row_mass
from .peaks import Listed


class Rest(NamedTuple):
    """The weight of what is not listed, [N, 1] float64 each: at least, at most, and the relative error of the whole."""

    least: Array
    most: Array
    error: Array


def bounded_rest(listed: Listed, temperature: float | Array) -> Rest:
    """From the maxima of the groups: what is not listed exceeds neither its group's maximum nor the bound."""
    top, bound = torch.from_numpy(listed.values[:, :1]), torch.from_numpy(listed.bound)
    inverse = 1 / temperature if isinstance(temperature, float) else torch.from_numpy(single(1 / temperature))
    weight = torch.minimum(listed.maxima, bound).sub_(top).mul_(inverse).exp_()  # type: ignore[arg-type]
    most = double(weight.sum(1, keepdim=True).numpy()) * (1.001 * listed.width) + 1e-30
    return Rest(0.0 * most, most, 0.0 * most)


def exact_rest(logits: Tensor, temperature: float | Array, scaled: Array, weight: Array) -> Rest:
    """Up to the error of ``row_mass``: tokens that weigh at all are within 20 of the top."""
    top = scaled[:, :1]
    mass = row_mass(logits, temperature if isinstance(temperature, float) else as_tensor(temperature), as_tensor(top))
    listed = weight.sum(1)[:, None]
    rest = (mass if isinstance(top, Tensor) else mass.numpy()) - listed
    rest = rest * (rest > 0)
    return Rest(rest, rest, MASS_ERROR + 2e-7 * (double(abs(top)) + 20))
