"""What text can be stored and shown anywhere."""

from __future__ import annotations

import unicodedata


def is_printable(text: str) -> bool:
    """Tell whether text has no control characters but line breaks and tabs, and no half pairs."""
    return all(c in "\t\n\r" or unicodedata.category(c) not in ("Cc", "Cs") for c in text)
