"""A server of fibers: one thread, blocking-style code, and waiting from inside a C function.

Every connection is a fiber that reads requests with `io.BufferedReader`, which is written in C.
When there is nothing to read, the fiber suspends right there, below the C code, and the loop goes
on with another one. Generators and coroutines cannot: every frame up to the loop must await.
"""

import io
import json
import selectors
import socket
import threading

import holdfast

CLIENTS = 50
REQUESTS = 20


class Wire(io.RawIOBase):
    """A socket that lets others run until it is ready."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        while True:
            try:
                return self.sock.recv_into(buffer)
            except BlockingIOError:
                holdfast.suspend(self.sock)


def serve(sock: socket.socket) -> int:
    """One connection, from its first request to its last."""
    answered = 0
    with sock, io.BufferedReader(Wire(sock), 4096) as reader:
        for line in reader:
            # Nobody knows how deep a request is nested: not on this small stack.
            request = holdfast.run_on_stack(json.loads, line, stack_size="64 MiB")
            depth = 1
            while request:
                request, depth = request[0], depth + 1
            sock.sendall(b"%d\n" % depth)
            answered += 1
    return answered


def loop(sockets: list[socket.socket]) -> int:
    """Runs every connection's fiber whenever there is something for it; returns the requests."""
    selector = selectors.DefaultSelector()
    answered = 0

    def step(fiber: holdfast.Fiber, *args: socket.socket) -> None:
        nonlocal answered
        waits_for = fiber.resume(*args)
        if fiber.state == "finished":
            answered += waits_for
        else:
            selector.register(waits_for, selectors.EVENT_READ, fiber)

    for number, sock in enumerate(sockets):
        step(holdfast.Fiber(serve, name=f"connection-{number}"), sock)
    while selector.get_map():
        for key, _ in selector.select():
            selector.unregister(key.fileobj)
            step(key.data)
    return answered


def client(sock: socket.socket, number: int, wrong: list[str]) -> None:
    with sock, sock.makefile("rb") as answers:
        for i in range(REQUESTS):
            depth = 1 + 37 * (number * REQUESTS + i)
            sock.sendall(b"[" * depth + b"]" * depth + b"\n")
            if answers.readline() != b"%d\n" % depth:
                wrong.append(f"client {number}, request {i}")


def main() -> None:
    pairs = [socket.socketpair() for _ in range(CLIENTS)]
    wrong: list[str] = []
    clients = [
        threading.Thread(target=client, args=(there, number, wrong))
        for number, (_, there) in enumerate(pairs)
    ]
    for thread in clients:
        thread.start()
    answered = loop([here for here, _ in pairs])
    for thread in clients:
        thread.join()
    print(
        f"{answered} requests of {CLIENTS} connections answered by one thread, {len(wrong)} wrong"
    )
    deepest = 1 + 37 * (CLIENTS * REQUESTS - 1)
    print(f"the deepest was nested {deepest} levels")


if __name__ == "__main__":
    main()
