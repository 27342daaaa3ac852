"""dtypes.py - the element format that stands in a segment's table, and NumPy's dtypes.

    np.dtype("<f4")                       <->  "<f4"
    np.dtype([("x", "<f4"), ("n", "<i8")]) <->  "[('x','<f4'),('n','<i8')]"

Invariants  the text says everything: byte order, offsets, shapes of fields. Equal texts, and no
            others, are the same type.
Talks to    numpy, when there is a dtype.   Called by the structures of this package.
Source      the descr of NumPy's .npy format, version 3.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from holdfast.errors import InvalidArgumentError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["dtype_of", "element_dtype", "format_of"]


def format_of(dtype: npt.DTypeLike) -> tuple[str, int]:
    """Write a dtype for the table.

    Parameters
    ----------
    dtype : DTypeLike
        Of fixed size, without Python objects.

    Returns
    -------
    tuple of str and int
        The text, and the size of an element [bytes].

    Raises
    ------
    InvalidArgumentError
        It holds objects, which mean nothing in another process, or has no size.
    """
    import numpy as np

    made = np.dtype(dtype)
    if made.hasobject:
        raise InvalidArgumentError(
            f"dtype {made} holds Python objects, which mean nothing to another process; "
            "use numbers, fixed strings or a structured dtype, or a queue of objects"
        )
    if made.itemsize == 0:
        raise InvalidArgumentError(f"dtype {made} has no size; give the length, such as 'S16'")
    descr: Any = np.lib.format.dtype_to_descr(made)
    text = descr if isinstance(descr, str) else _compact(descr)
    if dtype_of(text) != made:
        raise InvalidArgumentError(
            f"dtype {made} cannot be written down (NumPy says {text}); an array as an element "
            "needs a field name: [('v', '<i8', (3,))]"
        )
    return text, made.itemsize


def _compact(value: Any) -> str:
    """Write nested lists, tuples and scalars without spaces."""
    if isinstance(value, list):
        return "[" + ",".join(map(_compact, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ",".join(map(_compact, value)) + ("," if len(value) == 1 else "") + ")"
    return repr(value)


def dtype_of(text: str) -> np.dtype[Any]:
    """Read a dtype from the table.

    Raises
    ------
    InvalidArgumentError
        The text is no dtype: another program wrote it, or the table is damaged.
    """
    import numpy as np

    try:
        descr: Any = ast.literal_eval(text) if text[:1] in ("[", "(") else text
        made: np.dtype[Any] = np.lib.format.descr_to_dtype(descr)
    except Exception as error:
        raise InvalidArgumentError(f"the table says element format {text!r}: {error}") from None
    if made.hasobject:
        raise InvalidArgumentError(f"the table says element format {text!r}: it holds objects")
    return made


def element_dtype(text: str, size: int) -> np.dtype[Any]:
    """Read the dtype of elements of `size` bytes; raw bytes where a structure has no format.

    Raises
    ------
    InvalidArgumentError
        As dtype_of, or the text speaks of another size.
    """
    import numpy as np

    if not text:
        return np.dtype(("V", size))
    made = dtype_of(text)
    if made.itemsize != size:
        raise InvalidArgumentError(
            f"the table says element format {text!r}, which has {made.itemsize} bytes, and "
            f"elements of {size} bytes"
        )
    return made
