"""What a report needs of the machine: matplotlib, which is not among what the lab installs anyway."""

from __future__ import annotations

import importlib
import logging
import os
from pathlib import Path
import pwd

from lab.errors import PreflightError

__all__ = ["require_matplotlib"]


def require_matplotlib() -> None:
    """Have it loaded; PreflightError where there is none.

    It keeps what it knows of fonts in the home directory, which under sudo may be the user's: root's files stay root's.
    """
    if os.geteuid() == 0 and "SUDO_UID" in os.environ:
        os.environ.setdefault("MPLCONFIGDIR", str(Path(pwd.getpwuid(0).pw_dir) / ".cache" / "matplotlib"))
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # without room for that directory matplotlib works, too
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as missing:
        raise PreflightError(
            f"the figures of a report need matplotlib ({missing}); run: pip install 'lambda-vpc-lab[plots]'"
        ) from None
