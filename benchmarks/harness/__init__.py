"""Side-by-side measurement of memory allocators: machine, allocators, samples, tables, suites."""
