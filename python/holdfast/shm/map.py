"""map.py - a map between processes: keys to values, of bytes or of a dtype.

Invariants  readers see a whole value, before a change or after it, and never wait.
Talks to    holdfast._shm.   Called by segment.py.
Threads     any.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

from holdfast import _shm
from holdfast.errors import InvalidArgumentError
from holdfast.options import parse_size
from holdfast.shm.dtypes import dtype_of, format_of
from holdfast.shm.errors import ExistsError, NotFoundError, StaleError
from holdfast.shm.handle import Handle
from holdfast.shm.structure import mode_number, whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    import numpy as np
    import numpy.typing as npt

    from holdfast.shm.records import Entry
    from holdfast.shm.segment import Segment

__all__ = ["Map"]

_MISSING = object()


def _side(what: str, given: Any) -> tuple[str, int]:
    """Format and size of keys or values: of a dtype, or bytes up to so many (format "")."""
    if isinstance(given, Integral):
        return "", whole(what, int(given))
    try:
        return format_of(given)
    except TypeError:  # no dtype
        return "", parse_size(given, what)


def _is_gapless(dtype: np.dtype[Any]) -> bool:
    """True if every byte of an element belongs to a field."""
    if dtype.subdtype is not None:
        return _is_gapless(dtype.subdtype[0])
    if dtype.fields is None:
        return True
    fields = [field[0] for field in dtype.fields.values()]
    return sum(f.itemsize for f in fields) == dtype.itemsize and all(map(_is_gapless, fields))


class Map(Handle, MutableMapping[Any, Any]):
    """Keys to values; a mapping as any other, shared.

    Keys and values are ``bytes``, or elements of a dtype where one was given. Room for `capacity`
    keys is reserved when it is made; within it the map grows and nothing in it moves.
    """

    __slots__ = ("_key_dtype", "_value_dtype")

    _key_dtype: Any
    _value_dtype: Any

    # A handle, not its content: two of them are equal if they are the same.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @classmethod
    def _make(
        cls,
        segment: Segment,
        name: str,
        capacity: int,
        key: npt.DTypeLike | int,
        value: npt.DTypeLike | int | str,
        mode: str,
    ) -> Self:
        key_format, key_size = _side("key", key)
        value_format, value_size = _side("value", value)
        if key_format and not _is_gapless(dtype_of(key_format)):
            raise InvalidArgumentError(
                f"key dtype {dtype_of(key_format)} has padding; keys are compared byte by byte, "
                "and nobody knows what stands there: pack it (align=False)"
            )
        core = _shm.map_open(
            segment._core,
            name,
            mode_number(mode),
            key_size,
            not key_format,
            value_size,
            whole("capacity", capacity),
            key_format,
            value_format,
            False,
        )
        return cls._typed(segment, name, core)

    @classmethod
    def _from_entry(cls, segment: Segment, entry: Entry) -> Self:
        core = _shm.map_open(segment._core, entry.name, 0, 0, False, 0, 0, "", "", True)
        return cls._typed(segment, entry.name, core)

    @classmethod
    def _typed(cls, segment: Segment, name: str, core: Any) -> Self:
        self = cls._wrap(segment, name, core)
        *_, key_format, value_format = core.options()
        self._key_dtype = dtype_of(key_format) if key_format else None
        self._value_dtype = dtype_of(value_format) if value_format else None
        return self

    # --- what keys and values mean ------------------------------------------------------------

    @staticmethod
    def _pack(item: Any, dtype: Any) -> Any:
        if dtype is None:
            return item.encode() if isinstance(item, str) else item
        import numpy as np

        made = np.asarray(item, dtype)
        if made.ndim != 0:
            raise InvalidArgumentError(f"one element of {dtype}, not shape {made.shape}")
        return made.reshape(1).view("u1")

    @staticmethod
    def _unpack(item: bytes, dtype: Any) -> Any:
        if dtype is None:
            return item
        import numpy as np

        found = np.frombuffer(item, dtype)[0]
        return found.item() if dtype.names is None else found

    # --- mapping ------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        found = self._core.get(self._pack(key, self._key_dtype))
        if found is None:
            raise KeyError(key)
        return self._unpack(found[0], self._value_dtype)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.put(key, value)

    def __delitem__(self, key: Any) -> None:
        try:
            self._core.erase(self._pack(key, self._key_dtype))
        except NotFoundError:
            raise KeyError(key) from None

    def __contains__(self, key: object) -> bool:
        return self._core.get(self._pack(key, self._key_dtype)) is not None

    def __len__(self) -> int:
        return int(self._core.count)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return (key for key, _ in self._walk())

    def _walk(self) -> Iterator[tuple[Any, Any]]:
        """Each key that is there all the time exactly once."""
        place = 0
        while (found := self._core.next(place)) is not None:
            place, key, value, _ = found
            yield self._unpack(key, self._key_dtype), self._unpack(value, self._value_dtype)

    def items(self) -> Any:
        """Keys with values, each seen whole; an iterator."""
        return self._walk()

    def values(self) -> Any:
        """Values, each seen whole; an iterator."""
        return (value for _, value in self._walk())

    def clear(self) -> None:
        """Erase every key; one put meanwhile may stay."""
        self._core.clear()

    # --- in one step --------------------------------------------------------------------------

    def put(self, key: Any, value: Any) -> int:
        """Give a key a value; returns the version of the key.

        Raises
        ------
        FullError
            There is no room for another key.
        """
        return int(
            self._core.put(self._pack(key, self._key_dtype), self._pack(value, self._value_dtype))
        )

    def put_if_absent(self, key: Any, value: Any) -> bool:
        """Give a key a value unless it has one; says whether."""
        try:
            self._core.put_if_absent(
                self._pack(key, self._key_dtype), self._pack(value, self._value_dtype)
            )
        except ExistsError:
            return False
        return True

    def get_versioned(self, key: Any) -> tuple[Any, int]:
        """See the value and its version; KeyError if there is no such key."""
        found = self._core.get(self._pack(key, self._key_dtype))
        if found is None:
            raise KeyError(key)
        return self._unpack(found[0], self._value_dtype), int(found[1])

    def replace_if(self, key: Any, value: Any, version: int) -> int | None:
        """Give a key a value if its version is still `version`; the new one, or None."""
        try:
            return int(
                self._core.replace_if(
                    self._pack(key, self._key_dtype),
                    self._pack(value, self._value_dtype),
                    version,
                )
            )
        except (StaleError, NotFoundError, ExistsError):
            return None

    def update_with(self, key: Any, function: Callable[[Any], Any], default: Any = None) -> Any:
        """Replace a value by ``function(value)`` in one step; tried again if another came between.

        Parameters
        ----------
        key : bytes or element
            The key.
        function : callable
            Of the value, or of `default` where there is none; may run several times.
        default : optional
            For a key that is not there.

        Returns
        -------
        The new value.
        """
        packed = self._pack(key, self._key_dtype)
        while True:
            found = self._core.get(packed)
            old = default if found is None else self._unpack(found[0], self._value_dtype)
            new = function(old)
            value = self._pack(new, self._value_dtype)
            try:
                self._core.replace_if(packed, value, 0 if found is None else found[1])
            except (StaleError, NotFoundError, ExistsError):
                continue
            return new

    def pop(self, key: Any, default: Any = _MISSING) -> Any:
        """Erase a key and return its value, in one step."""
        packed = self._pack(key, self._key_dtype)
        while (found := self._core.get(packed)) is not None:
            try:
                self._core.erase_if(packed, found[1])
            except StaleError:
                continue
            except NotFoundError:
                break
            return self._unpack(found[0], self._value_dtype)
        if default is _MISSING:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[Any, Any]:
        """Erase some key and return it with its value, in one step; KeyError if there is none."""
        for key in self:
            try:
                return key, self.pop(key)
            except KeyError:  # another process was faster
                continue
        raise KeyError("the map is empty")

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Give a key a value unless it has one, in one step; return what it has."""
        packed = self._pack(key, self._key_dtype)
        while (found := self._core.get(packed)) is None:
            if self.put_if_absent(key, default):
                return default
        return self._unpack(found[0], self._value_dtype)

    def load(self) -> dict[str, int]:
        """See how full it is and how far keys lie from their place; walks over all of it."""
        found: dict[str, int] = self._core.figures()
        return found

    @property
    def capacity(self) -> int:
        """Keys it has room for."""
        return int(self._core.options()[3])
