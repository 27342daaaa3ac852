"""A heap as a Python object: a budget for one part of the program, arrays on it without a copy."""

import holdfast
import numpy as np


def main() -> None:
    crossings: list[int] = []
    with holdfast.Heap(
        name="frames",
        profile="hardened",
        limit=64 << 20,
        limit_soft=24 << 20,
        on_soft=crossings.append,
    ) as heap:
        frame = heap.array((1080, 1920), "f4")  # a NumPy array; its memory is on the heap
        frame[:] = 0.5
        part = frame[100:200]  # a view keeps the block alive, as any NumPy view does
        print(f"{frame.nbytes >> 20} MiB frame, mean {frame.mean():.1f}")

        buffer = heap.allocate(4096, align=64)  # bytes, writable, aligned
        memoryview(buffer)[:5] = b"hello"
        print(np.frombuffer(buffer, dtype="u1")[:5].tobytes())

        stats = heap.stats()
        print(
            f"{stats.blocks_in_use} blocks, {stats.bytes_in_use} bytes; adds up: {stats.adds_up()}"
        )

        more = [heap.array((1080, 1920), "f4") for _ in range(4)]
        print(f"{len(more)} frames more; the soft limit was crossed: {bool(crossings)}")

        try:
            heap.array((100 << 20,), "u1")
        except MemoryError as error:
            print(f"100 MiB: {type(error).__name__}")

        try:
            heap.close()
        except BufferError as error:  # arrays still borrow from it
            print(f"close: {type(error).__name__}")

        del frame, part, buffer, more
        print(f"{heap.stats().blocks_in_use} blocks, {heap.check()} damaged")


if __name__ == "__main__":
    main()
