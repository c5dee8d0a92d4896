"""Libraries of extras, without which a test is skipped."""

from typing import Any

import pytest

NOT_INSTALLED = "the extra is not installed: pip install 'hubft[{}]'"
"""The run of all tests fails by these words: there every extra is installed."""


def needs(module: str, extra: str) -> Any:
    """Return a module of an extra; skip the test, or the file of tests, where it is not installed."""
    return pytest.importorskip(module, reason=NOT_INSTALLED.format(extra))
