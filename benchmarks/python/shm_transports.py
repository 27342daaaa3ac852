"""Ways to get bytes from one Python process to another, all with the same five methods.

    link = make(name, size)        before the fork; raises ImportError if its package is absent
    link.open(side)                after it: 0 the parent, 1 the child
    link.send_many(n) / link.receive_many(n)      a stream from the parent to the child
    link.send() / link.receive()   one message, both ways, for round trips
    link.close()

Each process has a processor of its own where there are two, so that no way is measured while both
share one. A message is `size` bytes that the sender has; a receiver gets it as the way gives it.
"""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import os
import queue
import statistics
import sys
import tempfile
import time
from typing import Any

SLICES = 5
FORK = multiprocessing.get_context("fork")


def room(size: int) -> int:
    """Messages that a way may hold: 1024 small ones, 8 of 1 MiB; the same for all that let us."""
    return max(8, min(1024, (8 << 20) // size))


class Link:
    """What every way has; `put` and `take` are bound to one message each by `open`."""

    round_trips = True
    largest = 1 << 30

    def __init__(self, size: int) -> None:
        self.size = size
        self.message = b"m" * size  # bytes(size) is one page of zeros, again and again
        self.put: Any = None
        self.take: Any = None

    def open(self, side: int) -> None:
        raise NotImplementedError

    def send(self) -> None:
        self.put(self.message)

    def receive(self) -> None:
        self.take()

    def send_many(self, count: int) -> None:
        put, message = self.put, self.message
        for _ in range(count):
            put(message)

    def receive_many(self, count: int) -> None:
        take = self.take
        for _ in range(count):
            take()

    def close(self) -> None:
        pass


# --- holdfast -------------------------------------------------------------------------------------


class Holdfast(Link):
    """Two structures of one segment, "0" for the way down and "1" for the way up."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        from holdfast import shm

        memory = 4 * room(size) * (size + 4096) + (8 << 20)
        self.segment = shm.Segment(f"bench-{os.getpid()}", memory, mode="create", prefault=True)
        self.ways = [self.structure(str(way)) for way in (0, 1)]

    def structure(self, name: str) -> Any:
        return self.segment.queue(name, room(self.size), size=max(self.size, 64))

    def open(self, side: int) -> None:
        """The child of a fork is a participant of its own with the same objects."""
        self.out, self.back = self.ways[side], self.ways[1 - side]
        self.put, self.take = self.out.put, self.back.get

    def close(self) -> None:
        del self.put, self.take, self.out, self.back, self.ways
        self.segment.close()


class Polling(Holdfast):
    """try_put and try_get, again and again."""

    def open(self, side: int) -> None:
        super().open(side)
        self.put, self.take = self.out.try_put, self.back.try_get

    def send(self) -> None:
        put, message = self.put, self.message
        while not put(message):
            pass

    def receive(self) -> None:
        take = self.take
        while take() is None:
            pass

    def send_many(self, count: int) -> None:
        put, message = self.put, self.message
        for _ in range(count):
            while not put(message):
                pass

    def receive_many(self, count: int) -> None:
        take = self.take
        for _ in range(count):
            while take() is None:
                pass


class Single(Polling):
    """For one producer and one consumer."""

    def structure(self, name: str) -> Any:
        return self.segment.queue(name, room(self.size), size=max(self.size, 64), single=True)


class Records(Holdfast):
    """put_block and get_block: many records of one size by one call, 64 KiB at a time."""

    round_trips = False

    def structure(self, name: str) -> Any:
        return self.segment.queue(name, room(self.size), dtype=f"V{self.size}")

    def open(self, side: int) -> None:
        super().open(side)
        self.batch = max(1, 65536 // self.size)
        self.block = bytearray(self.batch * self.size)

    def send_many(self, count: int) -> None:
        put, block = self.out.put_block, memoryview(self.block)
        while count > 0:
            now = min(count, self.batch)
            put(block[: now * self.size])
            count -= now

    def receive_many(self, count: int) -> None:
        get, block = self.back.get_block, memoryview(self.block)
        while count > 0:
            count -= get(block[: min(count, self.batch) * self.size])


class Slots(Holdfast):
    """reserve and peek: a slot changes hands, nobody writes or reads what is in it."""

    def open(self, side: int) -> None:
        super().open(side)
        self.reserve, self.peek = self.out.reserve, self.back.peek

    def send(self) -> None:
        self.reserve(self.size).commit()

    def receive(self) -> None:
        self.peek().release()

    def send_many(self, count: int) -> None:
        reserve, size = self.reserve, self.size
        for _ in range(count):
            reserve(size).commit()

    def receive_many(self, count: int) -> None:
        peek = self.peek
        for _ in range(count):
            peek().release()

    def close(self) -> None:
        del self.reserve, self.peek
        super().close()


class Written(Slots):
    """The sender writes an array of its own into the slot; the receiver looks at the last byte.

    It polls: while a large one is written, who waits by itself falls asleep.
    """

    def open(self, side: int) -> None:
        super().open(side)
        import numpy as np

        self.as_array = np.frombuffer
        self.array = np.ones(self.size, "u1")

    def send(self) -> None:
        with self.reserve(self.size) as slot:
            self.as_array(slot, "u1")[:] = self.array

    def receive(self) -> None:
        while True:
            try:
                slot = self.peek(0)
            except queue.Empty:
                continue
            break
        with slot:
            self.as_array(slot, "u1")[-1]

    def send_many(self, count: int) -> None:
        for _ in range(count):
            self.send()

    def receive_many(self, count: int) -> None:
        for _ in range(count):
            self.receive()


class Objects(Holdfast):
    """Pickled bytes objects."""

    def structure(self, name: str) -> Any:
        return self.segment.queue(name, room(self.size), size=self.size + 256, objects=True)


class Ring(Holdfast):
    """A reliable ring with one reader; elements of the message's size, one at a time."""

    def structure(self, name: str) -> Any:
        return self.segment.ring(name, room(self.size), size=self.size, reliable=True)

    def open(self, side: int) -> None:
        self.out, self.back = self.ways[side], self.ways[1 - side].reader()
        self.put, self.take = self.out.push, self.back.pop
        time.sleep(0.05)  # the writer waits for readers that are there

    def send_many(self, count: int) -> None:
        push, message = self.put, self.message * max(1, min(64, 65536 // self.size))
        batch = len(message) // self.size
        while count >= batch:
            push(message)
            count -= batch
        for _ in range(count):
            push(self.message)

    def receive_many(self, count: int) -> None:
        pop, batch = self.take, max(1, min(64, 65536 // self.size))
        while count > 0:
            count -= len(pop(min(batch, count)))

    def close(self) -> None:
        self.back.close()
        super().close()


# --- the standard library -------------------------------------------------------------------------


class Queues(Link):
    """multiprocessing.Queue."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.queues: Any = [FORK.Queue(room(size)) for _ in (0, 1)]

    def open(self, side: int) -> None:
        self.put, self.take = self.queues[side].put, self.queues[1 - side].get


class Pipe(Link):
    """multiprocessing.Pipe, pickled objects."""

    methods = ("send", "recv")

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.ends = FORK.Pipe()

    def open(self, side: int) -> None:
        end = self.ends[side]
        self.put, self.take = (getattr(end, method) for method in self.methods)


class PipeBytes(Pipe):
    """multiprocessing.Pipe, bytes as they are."""

    methods = ("send_bytes", "recv_bytes")


# --- packages that may be there -------------------------------------------------------------------


class Zmq(Link):
    """pyzmq, PUSH and PULL over ipc."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.zmq: Any = importlib.import_module("zmq")
        self.folder = tempfile.TemporaryDirectory()

    def open(self, side: int) -> None:
        zmq = self.zmq
        self.context = zmq.Context()
        out, back = self.context.socket(zmq.PUSH), self.context.socket(zmq.PULL)
        for socket, way in ((out, side), (back, 1 - side)):
            socket.setsockopt(zmq.SNDHWM, room(self.size))
            socket.setsockopt(zmq.RCVHWM, room(self.size))
            path = f"ipc://{self.folder.name}/{way}"
            socket.bind(path) if socket is out else socket.connect(path)
        self.put, self.take = out.send, back.recv

    def close(self) -> None:
        self.context.destroy(linger=0)
        if self.folder is not None and multiprocessing.parent_process() is None:
            self.folder.cleanup()


class FasterFifo(Link):
    """faster-fifo, one object per call."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        package: Any = importlib.import_module("faster_fifo")
        importlib.import_module("faster_fifo_reduction")
        bytes_max = room(size) * (size + 64)
        self.queues = [package.Queue(max_size_bytes=bytes_max) for _ in (0, 1)]

    def open(self, side: int) -> None:
        out, back = self.queues[side], self.queues[1 - side]

        def put(message: bytes) -> None:
            while True:
                try:
                    return out.put(message, timeout=10.0)  # type: ignore[no-any-return]
                except queue.Full:
                    pass

        self.put, self.take = put, lambda: back.get(timeout=10.0)


class FasterFifoMany(FasterFifo):
    """faster-fifo, put_many and get_many of 64."""

    round_trips = False
    largest = 65536

    def open(self, side: int) -> None:
        self.out, self.back = self.queues[side], self.queues[1 - side]

    def send_many(self, count: int) -> None:
        batch = [self.message] * max(1, min(64, room(self.size) // 4))
        while count > 0:
            now = min(count, len(batch))
            try:
                self.out.put_many(batch[:now], timeout=10.0)
            except queue.Full:
                continue
            count -= now

    def receive_many(self, count: int) -> None:
        while count > 0:
            count -= len(self.back.get_many(max_messages_to_get=64, timeout=10.0))


class Iceoryx(Link):
    """iceoryx2, publish and subscribe, samples on loan: nobody writes or reads what is in them."""

    blocking = False

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.package: Any = importlib.import_module("iceoryx2")
        self.name = f"bench-{os.getpid()}-{size}"

    def open(self, side: int) -> None:
        package = self.package
        package.set_log_level(package.LogLevel.Error)
        self.node = package.NodeBuilder.new().create(package.ServiceType.Ipc)
        self.ports: list[Any] = []
        for way in (0, 1):
            name = package.ServiceName.new(f"{self.name}/{way}")
            builder = self.node.service_builder(name)
            builder = builder.publish_subscribe(package.Slice[ctypes.c_uint8])
            builder = builder.enable_safe_overflow(False)
            builder = builder.subscriber_max_buffer_size(room(self.size))
            service = builder.max_publishers(1).max_subscribers(1).open_or_create()
            self.ports.append(service)
            if way == side:
                maker = service.publisher_builder().initial_max_slice_len(self.size)
                retry = package.BackpressureStrategy.RetryUntilDelivered
                self.publisher = maker.backpressure_strategy(retry).create()
            else:
                self.subscriber = service.subscriber_builder().create()
        events = []
        for way in (0, 1):
            name = package.ServiceName.new(f"{self.name}/{way}/event")
            events.append(self.node.service_builder(name).event().open_or_create())
        self.notifier = events[side].notifier_builder().create()
        self.listener = events[1 - side].listener_builder().create()
        time.sleep(0.3)  # both ends are there before the first message
        self.publisher.update_connections()

    def send(self) -> None:
        self.publisher.loan_slice_uninit(self.size).assume_init().send()
        if self.blocking:
            self.notifier.notify()

    def close(self) -> None:
        for port in (self.publisher, self.subscriber, self.notifier, self.listener):
            port.delete()
        del self.publisher, self.subscriber, self.notifier, self.listener, self.ports, self.node

    def receive(self) -> None:
        receive = self.subscriber.receive
        sample = receive()
        while sample is None:
            if self.blocking:
                self.listener.timed_wait(self.package.Duration.from_millis(100))
            sample = receive()
        sample.delete()

    def send_many(self, count: int) -> None:
        loan, size = self.publisher.loan_slice_uninit, self.size
        blocking, notify = self.blocking, self.notifier.notify
        for _ in range(count):
            loan(size).assume_init().send()
            if blocking:
                notify()

    def receive_many(self, count: int) -> None:
        for _ in range(count):
            self.receive()


class IceoryxWritten(Iceoryx):
    """The same with the bytes copied in by the sender, the last one read by the receiver."""

    def send(self) -> None:
        sample = self.publisher.loan_slice_uninit(self.size)
        ctypes.memmove(sample.payload().as_ptr(), self.message, self.size)
        sample.assume_init().send()

    def receive(self) -> None:
        receive = self.subscriber.receive
        sample = receive()
        while sample is None:
            sample = receive()
        sample.payload()[self.size - 1]
        sample.delete()

    def send_many(self, count: int) -> None:
        for _ in range(count):
            self.send()


class IceoryxBlocking(Iceoryx):
    """With its events: the receiver sleeps."""

    blocking = True


WAYS: dict[str, type[Link]] = {
    "Queue put/get": Holdfast,
    "Queue try_put/try_get": Polling,
    "Queue single try_": Single,
    "Queue put_block/get_block": Records,
    "Queue reserve/peek": Slots,
    "Queue reserve/peek written": Written,
    "Queue of objects": Objects,
    "Ring push/pop": Ring,
    "multiprocessing.Queue": Queues,
    "Pipe objects": Pipe,
    "Pipe bytes": PipeBytes,
    "pyzmq ipc": Zmq,
    "faster-fifo": FasterFifo,
    "faster-fifo many": FasterFifoMany,
    "iceoryx2": Iceoryx,
    "iceoryx2 written": IceoryxWritten,
    "iceoryx2 blocking": IceoryxBlocking,
}


def _settle(side: int, processors: list[int]) -> None:
    if len(processors) > 1:
        os.sched_setaffinity(0, {processors[side]})


def _child(link: Link, control: Any, processors: list[int]) -> None:
    _settle(1, processors)
    link.open(1)
    control.send("ready")
    while True:
        what, count = control.recv()
        if what == "end":
            link.close()
            return
        control.send("go")
        if what == "stream":
            link.receive_many(count)
        else:
            for _ in range(count):
                link.receive()
                link.send()
        control.send("done")


def _answer(control: Any, child: Any, expected: str) -> None:
    if not control.poll(60):
        raise TimeoutError(f"the other process does not answer, its exit code is {child.exitcode}")
    found = control.recv()
    if found != expected:
        raise RuntimeError(f"{found} instead of {expected}")


def measure(way: str, size: int, seconds: float) -> dict[str, float]:
    """Messages per second (median of slices), and the median round trip [us] with its tail."""
    made = WAYS[way]
    if size > made.largest:
        return {}
    link = made(size)
    control, other = FORK.Pipe()
    processors = sorted(os.sched_getaffinity(0))
    child = FORK.Process(target=_child, args=(link, other, processors), daemon=True)
    child.start()
    _settle(0, processors)
    other.close()
    try:
        link.open(0)
        _answer(control, child, "ready")

        def stream(count: int) -> float:
            control.send(("stream", count))
            _answer(control, child, "go")
            begun = time.perf_counter()
            link.send_many(count)
            _answer(control, child, "done")
            return time.perf_counter() - begun

        count = 16
        took = stream(count)
        while took < seconds / 16 and count < 1 << 24:
            count *= 2 if took > seconds / 64 else 6
            took = stream(count)
        count = max(16, int(count * seconds / SLICES / took))
        figures = {"rate": count / statistics.median(stream(count) for _ in range(SLICES))}
        if made.round_trips:
            figures.update(_round_trips(link, control, child, seconds / 2))
        control.send(("end", 0))
        child.join(10)
        return figures
    finally:
        if child.is_alive():
            child.kill()
        child.join(10)
        link.close()
        os.sched_setaffinity(0, processors)


def _round_trips(link: Link, control: Any, child: Any, seconds: float) -> dict[str, float]:
    clock, send, receive = time.perf_counter_ns, link.send, link.receive
    count, times = 20, [0]
    for _ in range(2):  # the first says how many the second may be
        control.send(("echo", count))
        _answer(control, child, "go")
        times = []
        for _ in range(count):
            begun = clock()
            send()
            receive()
            times.append(clock() - begun)
        _answer(control, child, "done")
        times.sort()
        middle = times[len(times) // 2]
        count = max(20, min(20000, int(seconds * 1e9 / max(middle, 1))))
    return {"trip_us": middle / 1e3, "trip99_us": times[len(times) * 99 // 100] / 1e3}


def main() -> int:
    """One way, the sizes given: one line of JSON."""
    import json

    way, seconds = sys.argv[1], float(sys.argv[2])
    found: dict[str, dict[str, float]] = {}
    for size in map(int, sys.argv[3:]):
        try:
            found[str(size)] = measure(way, size, seconds)
        except ImportError as error:
            print(json.dumps({"absent": f"{error.name} is not installed"}))
            return 0
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
