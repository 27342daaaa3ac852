"""pytest plugin: array memory of the whole run from holdfast, as HOLDFAST_TEST_ARRAYS says."""

from __future__ import annotations

import os

import holdfast
import holdfast.numpy

how = os.environ["HOLDFAST_TEST_ARRAYS"]
if how == "install":
    holdfast.numpy.install()
elif how == "allocator":
    holdfast.numpy.allocator(holdfast.Heap(name="suite")).__enter__()
