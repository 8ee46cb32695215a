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
