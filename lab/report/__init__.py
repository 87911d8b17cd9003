"""A report: runs as one HTML page with figures, tables and the verdict, and the figures as files.

`lab.report.page` needs matplotlib; `require_matplotlib` says so where there is none.
"""

from __future__ import annotations

from lab.report.means import require_matplotlib

__all__ = ["require_matplotlib"]
