"""exp, log and what is made of them, for `vectors`, lane by lane; test_functions.py holds each to a few units in the last place.

The exponential and its kin are one reduction, x = n ln 2 + r with |r| <= ln(2) / 2, and one polynomial for exp(r) - 1. No
float is ever converted to an integer, which is undefined for NaN: adding 1.5 * 2^23 (2^52 in float64) rounds to an integer
and leaves it in the low bits of the sum. The logarithms are one more polynomial, in s = f / (2 + f) for log(1 + f): that is
2 artanh(s) = 2 s + s t R(t) with t = s^2, and as 2 s = f - s f, it is f less a small correction.
"""

from typing import Any, NamedTuple

from llvmlite import ir
from numba.extending import intrinsic

from .simd import Emitter


class _Format(NamedTuple):
    """What the two float formats differ in."""

    bits: int
    mantissa: int
    bias: int
    ln2: tuple[float, float]  # the first part has so few bits that n times it is exact
    low: float  # exp of what lies below rounds to 0
    high: float  # exp of what lies above overflows, and of this too
    tail: tuple[float, ...]  # (exp(r) - 1 - r) / r^2, through the Chebyshev points of |r| <= 0.347
    least: float  # the smallest normal number
    root_half: int  # the bits of sqrt(1 / 2)
    log_tail: tuple[float, ...]  # R(t), through the Chebyshev points of 0 <= t <= 1 / 9


_FORMATS = {
    32: _Format(
        bits=32,
        mantissa=23,
        bias=127,
        ln2=(0.693359375, -2.12194440054690583e-4),
        low=-104.0,
        high=89.0,
        tail=(0.5, 0.16666576, 0.041666552, 0.008363247, 0.0013926268),
        least=2.0**-126,
        root_half=0x3F3504F3,
        log_tail=(0.6666666732, 0.39999706332, 0.28592357994, 0.21706575801, 0.23224329224),
    ),
    64: _Format(
        bits=64,
        mantissa=52,
        bias=1023,
        ln2=(6.93147180369123816490e-01, 1.90821492927058770002e-10),
        low=-746.0,
        high=710.0,
        tail=(
            0.5, 0.16666666666666669, 0.04166666666662374, 0.008333333333330039, 0.0013888888917405902,
            0.0001984126986318526, 2.480152099727921e-05, 2.7557268245053035e-06, 2.7620230452310673e-07,
            2.5100490147655002e-08,
        ),
        least=2.0**-1022,
        root_half=0x3FE6A09E667F3BCD,
        log_tail=(
            0.6666666666666666, 0.39999999999999525, 0.285714285716001, 0.2222222219823677, 0.18181819897962714,
            0.1538454396486055, 0.13335178631449257, 0.11734279061303197, 0.10845178394880015, 0.07492143795550767,
            0.1563057780092285,
        ),
    ),
}  # fmt: skip

LOG2_E = 1.4426950408889634


class _Functions(Emitter):
    """Writes the functions for one dtype; every method takes and gives vectors."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any, dtype: Any) -> None:
        super().__init__(context, builder, signature, args, dtype)
        self.format = _FORMATS[dtype.bitwidth]
        self.integers = ir.VectorType(ir.IntType(self.format.bits), self.lanes)

    def every(self, value: float) -> Any:
        return ir.Constant(self.vector, [value] * self.lanes)

    def whole(self, value: int) -> Any:
        return ir.Constant(self.integers, [value] * self.lanes)

    def at_least(self, bound: float, x: Any) -> Any:
        """max(bound, x); NaN stays NaN."""
        limit = self.every(bound)
        return self.builder.select(self.builder.fcmp_ordered("<", x, limit), limit, x)

    def at_most(self, bound: float, x: Any) -> Any:
        limit = self.every(bound)
        return self.builder.select(self.builder.fcmp_ordered(">", x, limit), limit, x)

    def minus_magnitude(self, x: Any) -> Any:
        return self.builder.fneg(self.call("llvm.fabs.%", self.vector, x))

    def reduced(self, x: Any) -> tuple[Any, Any]:
        """(n as integers, exp(r) - 1) with x = n ln 2 + r; x lies between the format's low and high."""
        f, build = self.format, self.builder
        magic = 1.5 * 2.0**f.mantissa
        shifted = self.multiply_add(x, self.every(LOG2_E), self.every(magic))
        n = build.fsub(shifted, self.every(magic))
        r = self.multiply_add(n, self.every(-f.ln2[0]), x)
        r = self.multiply_add(n, self.every(-f.ln2[1]), r)
        tail = self.every(f.tail[-1])
        for coefficient in reversed(f.tail[:-1]):
            tail = self.multiply_add(tail, r, self.every(coefficient))
        rest = self.multiply_add(build.fmul(r, r), tail, r)
        zero_bits = ((f.bias + f.mantissa) << f.mantissa) + (1 << (f.mantissa - 1))  # those of `magic`: n = 0
        return build.sub(build.bitcast(shifted, self.integers), self.whole(zero_bits)), rest

    def power_of_two(self, n: Any) -> Any:
        """2^n, for the exponents of normal numbers."""
        f, build = self.format, self.builder
        exponent = build.add(n, self.whole(f.bias))
        return build.bitcast(build.shl(exponent, self.whole(f.mantissa)), self.vector)

    def exp(self, x: Any) -> Any:
        build, one = self.builder, self.every(1.0)
        n, rest = self.reduced(self.at_most(self.format.high, self.at_least(self.format.low, x)))
        half = build.ashr(n, self.whole(1))  # 2^n in two steps: n may lie beyond the normal exponents at either end
        value = build.fmul(build.fadd(one, rest), self.power_of_two(half))
        return build.fmul(value, self.power_of_two(build.sub(n, half)))

    def sigmoid(self, x: Any) -> Any:
        """(x > 0 ? 1 : e) / (1 + e) with e = exp(-|x|), which cannot overflow."""
        build, one = self.builder, self.every(1.0)
        e = self.exp(self.minus_magnitude(x))
        above = build.select(build.fcmp_ordered(">", x, self.every(0.0)), one, e)
        return build.fdiv(above, build.fadd(one, e))

    def expm1(self, x: Any) -> Any:
        """exp(x) - 1 for x <= 0, also where that is tiny."""
        enough = -float(self.format.mantissa)  # it is -1 long before
        n, rest = self.reduced(self.at_least(enough, x))
        power = self.power_of_two(n)
        return self.multiply_add(power, rest, self.builder.fsub(power, self.every(1.0)))

    def log1p(self, f: Any) -> Any:
        """log(1 + f) for sqrt(1 / 2) - 1 <= f <= 1, as exact for a tiny f."""
        build = self.builder
        s = build.fdiv(f, build.fadd(self.every(2.0), f))
        t = build.fmul(s, s)
        tail = self.every(self.format.log_tail[-1])
        for coefficient in reversed(self.format.log_tail[:-1]):
            tail = self.multiply_add(tail, t, self.every(coefficient))
        less = self.multiply_add(build.fneg(t), tail, f)
        return self.multiply_add(build.fneg(s), less, f)

    def log(self, x: Any) -> Any:
        """n ln 2 + log(m) with x = 2^n m, and m between sqrt(1 / 2) and sqrt(2)."""
        format_, build = self.format, self.builder
        tiny = build.fcmp_ordered("<", x, self.every(format_.least))
        lift = format_.mantissa + 1  # makes normal numbers of the smallest
        bits = build.bitcast(build.select(tiny, build.fmul(x, self.every(2.0**lift)), x), self.integers)
        exponent = build.ashr(build.sub(bits, self.whole(format_.root_half)), self.whole(format_.mantissa))
        m = build.bitcast(build.sub(bits, build.shl(exponent, self.whole(format_.mantissa))), self.vector)
        n = build.sitofp(build.sub(exponent, build.select(tiny, self.whole(lift), self.whole(0))), self.vector)
        rest = self.multiply_add(n, self.every(format_.ln2[1]), self.log1p(build.fsub(m, self.every(1.0))))
        value = self.multiply_add(n, self.every(format_.ln2[0]), rest)
        zero, infinity = self.every(0.0), self.every(float("inf"))
        value = build.select(build.fcmp_ordered("==", x, infinity), infinity, value)
        outside = build.select(build.fcmp_ordered("==", x, zero), build.fneg(infinity), self.every(float("nan")))
        return build.select(build.fcmp_ordered(">", x, zero), value, outside)

    def softplus(self, x: Any) -> Any:
        """max(x, 0) + log(1 + exp(-|x|)), which cannot overflow."""
        return self.builder.fadd(self.at_least(0.0, x), self.log1p(self.exp(self.minus_magnitude(x))))

    def tanh(self, x: Any) -> Any:
        """-m / (2 + m) with m = exp(-2 |x|) - 1, and the sign of x."""
        build = self.builder
        negative = self.minus_magnitude(x)
        m = self.expm1(build.fadd(negative, negative))
        value = build.fdiv(m, build.fadd(self.every(2.0), m))
        return self.call("llvm.copysign.%", self.vector, value, x)


@intrinsic
def exp(typingctx, v):
    """e^v: 0 at -inf, gradual underflow, inf at +inf and wherever the float overflows, NaN at NaN."""

    def codegen(context, builder, signature, args):
        return _Functions(context, builder, signature, args, v.dtype).exp(args[0])

    return v(v), codegen


@intrinsic
def sigmoid(typingctx, v):
    """1 / (1 + e^-v), from 0 at -inf, with gradual underflow, to 1 at +inf; NaN at NaN."""

    def codegen(context, builder, signature, args):
        return _Functions(context, builder, signature, args, v.dtype).sigmoid(args[0])

    return v(v), codegen


@intrinsic
def tanh(typingctx, v):
    """The hyperbolic tangent: odd, v itself near 0, exactly -1 and 1 far from it; NaN at NaN."""

    def codegen(context, builder, signature, args):
        return _Functions(context, builder, signature, args, v.dtype).tanh(args[0])

    return v(v), codegen


@intrinsic
def expm1(typingctx, v):
    """e^v - 1 for v <= 0, and 0 above; -1 at -inf, NaN at NaN."""

    def codegen(context, builder, signature, args):
        functions = _Functions(context, builder, signature, args, v.dtype)
        return functions.expm1(functions.at_most(0.0, args[0]))

    return v(v), codegen


@intrinsic
def log(typingctx, v):
    """The natural logarithm: -inf at 0, inf at inf, NaN below 0 and at NaN."""

    def codegen(context, builder, signature, args):
        return _Functions(context, builder, signature, args, v.dtype).log(args[0])

    return v(v), codegen


@intrinsic
def softplus(typingctx, v):
    """log(1 + e^v): 0 at -inf, with gradual underflow, v itself far above 0; NaN at NaN."""

    def codegen(context, builder, signature, args):
        return _Functions(context, builder, signature, args, v.dtype).softplus(args[0])

    return v(v), codegen
