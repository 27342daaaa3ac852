"""A client for fiber_server: many connections at once, every answer compared.

python client.py PORT [CONNECTIONS] [LINES]
"""

from __future__ import annotations

import socket
import sys


def main(port: int, connections: int = 200, lines: int = 20) -> int:
    """Talk on all connections in turn; returns the number of wrong answers."""
    sockets = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(connections)]
    files = [one.makefile("rw", encoding="ascii", newline="\n") for one in sockets]
    wrong = 0
    for line in range(lines):
        for number, file in enumerate(files):
            file.write(f"line {line} of {number}\n")
            file.flush()
        for number, file in enumerate(files):
            wrong += file.readline().rstrip("\n") != f"line {line} of {number}"[::-1]
    # Halves of lines, more than one in a packet, and a recursion that stays within its stack.
    files[0].write("ab")
    files[0].flush()
    files[0].write("c\nxyz\ndeep 100\n")
    files[0].flush()
    answers = [files[0].readline().rstrip("\n") for _ in range(3)]
    wrong += answers != ["cba", "zyx", "came back from 100"]
    for file, one in zip(files, sockets, strict=True):
        file.close()
        one.close()
    print(f"{connections} connections, {connections * lines + 3} lines, {wrong} wrong")
    return wrong


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:])) != 0)
