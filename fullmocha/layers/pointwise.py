"""Caffe's other pointwise layers, each a neuron with parameters of its own.

Their gradients are right in place too: a net keeps every value, where Caffe would compute them from overwritten ones.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..neurons import Neuron
from .activation import NeuronLayer


@dataclass(frozen=True, kw_only=True)
class _Parametric(NeuronLayer):
    """A neuron whose parameters are fields of the layer."""

    def number(self, name: str, infinite: bool = False) -> float:
        """A field as a finite float, or infinite where that is allowed."""
        value = getattr(self, name)
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or math.isnan(value) or (math.isinf(value) and not infinite):
            raise self.refuse(f"{name} must be a {'' if infinite else 'finite '}number, got {value!r}")
        return float(value)

    def become(self, kind: str, *parameters: float) -> None:
        """Sets the neuron."""
        object.__setattr__(self, "function", Neuron(kind, parameters))


@dataclass(frozen=True, kw_only=True)
class ELULayer(_Parametric):
    """y = x for x > 0, else alpha (exp(x) - 1) (Clevert et al. 2015; Caffe's ELU).

    Parameters
    ----------
    alpha : float
        Minus the limit far below 0; the slope at 0, too.

    Examples
    --------
    >>> ELULayer(name="elu", bottoms=["a"], tops=["a"], alpha=0.5).describe()
    'elu, alpha 0.5'
    """

    alpha: float = 1.0

    def check(self) -> None:
        self.become("elu", self.number("alpha"))


@dataclass(frozen=True, kw_only=True)
class BNLLLayer(_Parametric):
    """y = log(1 + exp(x)), the binomial normal log likelihood or softplus (Caffe's BNLL); exp cannot overflow.

    Examples
    --------
    >>> BNLLLayer(name="bnll", bottoms=["a"], tops=["b"]).describe()
    'bnll'
    """

    def check(self) -> None:
        self.become("bnll")


@dataclass(frozen=True, kw_only=True)
class AbsValLayer(_Parametric):
    """y = |x|, with slope 0 at 0 (Caffe's AbsVal).

    Examples
    --------
    >>> AbsValLayer(name="abs", bottoms=["a"], tops=["b"]).shape([(2, 3)])
    [(2, 3)]
    """

    def check(self) -> None:
        self.become("absval")


@dataclass(frozen=True, kw_only=True)
class PowerLayer(_Parametric):
    """y = (shift + scale x)^power (Caffe's Power).

    Parameters
    ----------
    power, scale, shift : float
        Where power or scale is 0, y is the constant shift^power (0^0 is 1) and its gradient 0.

    Notes
    -----
    A negative base has whole powers only; the others are NaN, as in Caffe. At a base of 0 the gradient is that of the
    function (0 for a power above 1, infinite below), where Caffe may divide 0 by 0.

    Examples
    --------
    >>> PowerLayer(name="square", bottoms=["a"], tops=["b"], power=2).describe()
    'power, power 2, scale 1, shift 0'
    """

    power: float = 1.0
    scale: float = 1.0
    shift: float = 0.0

    def check(self) -> None:
        self.become("power", self.number("power"), self.number("scale"), self.number("shift"))


@dataclass(frozen=True, kw_only=True)
class ExpLayer(_Parametric):
    """y = base^(shift + scale x) (Caffe's Exp).

    Parameters
    ----------
    base : float
        Above 0, or -1 for e.
    scale, shift : float
        What x is multiplied by, and what is added then.

    Examples
    --------
    >>> ExpLayer(name="exp", bottoms=["a"], tops=["b"], base=4, shift=0.5).describe()
    'exponential, factor 2, rate 1.38629'
    """

    base: float = -1.0
    scale: float = 1.0
    shift: float = 0.0

    def check(self) -> None:
        logarithm = _log_of_base(self)
        scale, shift = self.number("scale"), self.number("shift")
        try:
            factor = math.exp(logarithm * shift)
        except OverflowError:
            raise self.refuse(f"base^shift, with base {self.base} and shift {shift}, exceeds every float") from None
        self.become("exponential", factor, logarithm * scale)


@dataclass(frozen=True, kw_only=True)
class LogLayer(_Parametric):
    """y = log(shift + scale x) to some base (Caffe's Log): -inf where that is 0, NaN below.

    Parameters
    ----------
    base : float
        Above 0 and other than 1, or -1 for e.
    scale, shift : float
        What x is multiplied by, and what is added then.

    Examples
    --------
    >>> LogLayer(name="log", bottoms=["a"], tops=["b"], base=2, shift=1).describe()
    'log, factor 1.4427, scale 1, shift 1'
    """

    base: float = -1.0
    scale: float = 1.0
    shift: float = 0.0

    def check(self) -> None:
        logarithm = _log_of_base(self)
        if logarithm == 0:
            raise self.refuse("base 1 has no logarithm; give another base above 0, or -1 for e")
        self.become("log", 1 / logarithm, self.number("scale"), self.number("shift"))


def _log_of_base(layer: ExpLayer | LogLayer) -> float:
    base = layer.number("base")
    if base != -1 and base <= 0:
        raise layer.refuse(f"base must be above 0, or -1 for e; got {base:g}")
    return 1.0 if base == -1 else math.log(base)


@dataclass(frozen=True, kw_only=True)
class ThresholdLayer(_Parametric):
    """y = 1 where x > threshold, else 0; no gradient passes (Caffe's Threshold).

    Examples
    --------
    >>> ThresholdLayer(name="on", bottoms=["a"], tops=["b"], threshold=0.5).describe()
    'threshold, level 0.5'
    """

    threshold: float = 0.0

    differentiable: ClassVar[bool] = False

    def check(self) -> None:
        self.become("threshold", self.number("threshold"))


@dataclass(frozen=True, kw_only=True)
class SwishLayer(_Parametric):
    """y = x / (1 + exp(-beta x)) (Ramachandran et al. 2017; Caffe's Swish).

    Examples
    --------
    >>> SwishLayer(name="swish", bottoms=["a"], tops=["b"], beta=1.5).describe()
    'swish, beta 1.5'
    """

    beta: float = 1.0

    def check(self) -> None:
        self.become("swish", self.number("beta"))


@dataclass(frozen=True, kw_only=True)
class ClipLayer(_Parametric):
    """y = min(max(x, least), most), and the gradient passes where least <= x <= most (Caffe's Clip).

    Parameters
    ----------
    least, most : float
        Caffe's min and max, which may be infinite.

    Examples
    --------
    >>> ClipLayer(name="clip", bottoms=["a"], tops=["b"], least=0, most=6).describe()
    'clip, least 0, most 6'
    """

    least: float = -math.inf
    most: float = math.inf

    def check(self) -> None:
        least, most = self.number("least", infinite=True), self.number("most", infinite=True)
        if least > most:
            raise self.refuse(f"least {least:g} lies above most {most:g}; exchange them")
        self.become("clip", least, most)
