"""Numbers and lists as a sentence has them."""

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """`1 image`, `1,577 images`, `no image`."""
    return f"{f'{number:,}' if number else 'no'} {noun}{'s' if number > 1 else ''}"


def share(part: int, whole: int) -> str:
    """`173 of 235 (74 %)`."""
    return f"{part:,} of {whole:,} ({100 * part / whole:.0f}\N{NO-BREAK SPACE}%)"


def joined(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([*([", ".join(words[:-1])] if len(words) > 1 else []), *words[-1:]])


def some(words: Sequence[str], most: int = 3) -> str:
    """The first few, and how many more there are."""
    return ", ".join(words) if len(words) <= most else f"{', '.join(words[:most])} and {len(words) - most:,} more"
