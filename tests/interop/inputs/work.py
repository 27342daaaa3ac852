"""A bit of everything an interpreter allocates for; ends with status 3 and without a line end."""

import collections
import ctypes
import decimal
import json
import os
import re
import subprocess
import sys
import threading
import zlib

data = [
    {"name": str(i), "values": list(range(i % 50)), "text": "x" * (i % 700)} for i in range(5000)
]
text = json.dumps(data)
assert json.loads(text) == data
print(len(text), zlib.crc32(zlib.compress(text.encode())))
found = collections.Counter(re.findall(r"\d+", text))
print(found.most_common(3), decimal.Decimal(2).sqrt())

lengths = [0] * 4


def work(slot: int) -> None:
    """Fill one slot; four of these run at once."""
    for i in range(200):
        lengths[slot] += len(json.dumps(data[i * 7 : i * 7 + 40]))


threads = [threading.Thread(target=work, args=(slot,)) for slot in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(lengths)

argv = [sys.executable, "-c", "print(sum(range(1000)))"]
print(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    os._exit(len(json.dumps(data)) % 100)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
for size in (1, 100, 10**6):
    libc.free(libc.malloc(size))

sys.stdout.write("no line end")
sys.exit(3)
