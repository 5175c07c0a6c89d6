"""Eight float32 numbers as one value of compiled code.

Numba leaves loops over many arrays to scalars, since any two of them might overlap. What is written
with these values is in vector registers on every processor: two of SSE, one of AVX.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.extending import models, register_model

LANES = 8

_LLVM = ir.VectorType(ir.FloatType(), LANES)
_FLOAT_BYTES = 4


intrinsic: Any = extending.intrinsic


class VectorType(types.Type):
    """Numba's type of a vector; compiled code alone has values of it."""

    def __init__(self) -> None:
        super().__init__(name="Vector")


VECTOR = VectorType()


@register_model(VectorType)
class VectorModel(models.PrimitiveModel):
    """Tells Numba that a vector is one of LLVM's."""

    def __init__(self, manager: Any, of_type: VectorType) -> None:
        super().__init__(manager, of_type, _LLVM)  # type: ignore[no-untyped-call]


Typed = tuple[Any, Callable[..., Any]]


@intrinsic
def load(context: Any, array: Any, index: Any) -> Typed:
    """Return the eight numbers of a contiguous ``array`` from ``index`` on; bounds unchecked."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        vector = builder.load(_pointer(context, builder, signature, values))
        vector.align = _FLOAT_BYTES
        return vector

    return VECTOR(array, types.intp), generate


@intrinsic
def store(context: Any, array: Any, index: Any, vector: Any) -> Typed:
    """Write ``vector`` to a contiguous ``array`` from ``index`` on; bounds unchecked."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        written = builder.store(values[2], _pointer(context, builder, signature, values))
        written.align = _FLOAT_BYTES
        return context.get_dummy_value()

    return types.void(array, types.intp, VECTOR), generate


@intrinsic
def zeros(context: Any) -> Typed:
    """Return eight zeros."""
    return VECTOR(), lambda context, builder, signature, values: ir.Constant(_LLVM, None)


@intrinsic
def add(context: Any, a: Any, b: Any) -> Typed:
    """Return ``a + b``."""
    return VECTOR(VECTOR, VECTOR), lambda context, builder, signature, values: builder.fadd(
        *values, flags=("contract",)
    )


@intrinsic
def subtract(context: Any, a: Any, b: Any) -> Typed:
    """Return ``a - b``."""
    return VECTOR(VECTOR, VECTOR), lambda context, builder, signature, values: builder.fsub(
        *values, flags=("contract",)
    )


@intrinsic
def multiply_add(context: Any, a: Any, b: Any, c: Any) -> Typed:
    """Return ``a b + c``, rounded once where the processor can."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        product = builder.fmul(values[0], values[1], flags=("contract",))
        return builder.fadd(product, values[2], flags=("contract",))

    return VECTOR(VECTOR, VECTOR, VECTOR), generate


def _pointer(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, values[0])
    return builder.bitcast(builder.gep(array.data, [values[1]]), _LLVM.as_pointer())
