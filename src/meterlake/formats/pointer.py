"""Arrays inside a kernel as bare pointers.

Handing an array to a helper that is not inlined costs seven words on the stack and up to two atomic
additions to its reference count, several times for each field of each row: more than the work itself. The
caller of a kernel keeps its arrays alive, so inside a pointer will do. It has no length and no negative
indexes; the helpers take either.
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic


@intrinsic
def pointer(_context: Any, array: Any) -> Any:
    """Pointer to the first element of a contiguous array that the caller of the kernel handed in.

    An array made in the kernel itself would be freed after its last use as an array.
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, value=arguments[0]).data

    return types.CPointer(array.dtype)(array), codegen  # type: ignore[attr-defined]
