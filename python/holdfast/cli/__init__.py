"""The command line: `holdfast run`, `report`, `options`, `explain`."""
