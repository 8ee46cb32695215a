"""What the audit says: findings, each one plain sentence with its numbers, the gravest first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SEVERITIES = ("error", "warning", "note")  # an error makes results wrong, a warning can mislead, a note informs


@dataclass(frozen=True)
class Finding:
    """One thing that a reader of results should know, and the images that it is about."""

    severity: str
    title: str
    sentence: str
    images: Sequence[str] = ()


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """The same findings, errors first; those of one severity stay in order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


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
