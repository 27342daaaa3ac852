"""A display that changes its colours. Nothing is wrong here: the bug is in palette.c."""

import palette


def sunset(steps: int) -> list[tuple[int, int, int]]:
    return [(255, 200 - 4 * i, 90 + 2 * i) for i in range(steps)]


def load_theme(name: str) -> object:
    colours = sunset(32)
    theme = palette.pack(colours)
    print(f"{name}: {len(colours)} colours")
    return theme


def main() -> None:
    theme = load_theme("evening")
    other = load_theme("night")
    del theme
    print("changed the theme")
    del other


if __name__ == "__main__":
    main()
