"""What every part of a topology is made of: frozen models, and the sentences that several of them share.

The sentences are read twice: an error line ends with one, and an editor shows it while the file is written.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from lab.schema.scale import SCALES
from lab.schema.words import Hold, Timeout

__all__ = [
    "DURATION",
    "NAME",
    "HalfOpenTimeout",
    "IdleTimeout",
    "Limit",
    "Model",
    "PortHold",
    "Whole",
    "YesNo",
]

Whole = Annotated[int, Field(strict=True)]
Limit = Annotated[Whole, SCALES]
YesNo = Annotated[bool, Field(strict=True)]

NAME = "1 to 24 of a-z, 0-9 and -, a letter first, no - last (it becomes part of a namespace's name)"
DURATION = "whole seconds up to 5 days, such as 350s, 5m, 1h or 350"
IDLE_TIMEOUT = f"an idle timeout, after which a silent connection is forgotten, is {DURATION}"
HALF_OPEN_TIMEOUT = f"a half-open timeout, after which an unanswered SYN is forgotten, is {DURATION}"
PORT_HOLD = f"a port hold, for which a closed connection keeps its port, is 0 or {DURATION}"

IdleTimeout = Annotated[Timeout, Field(alias="idle_timeout", description=IDLE_TIMEOUT)]
HalfOpenTimeout = Annotated[Timeout, Field(alias="half_open_timeout", description=HALF_OPEN_TIMEOUT)]
PortHold = Annotated[Hold, Field(alias="port_hold", description=PORT_HOLD)]
"""The three timeouts of every node that tracks connections."""


class Model(BaseModel):
    """Frozen, closed, and written under its YAML names; Python may use either name."""

    NOT_EMULATED: ClassVar[Mapping[str, str]] = {}
    """Keys that AWS has and the lab has not, each with the reason."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        serialize_by_alias=True,
        validate_by_alias=True,
        validate_by_name=True,
        validate_default=False,
    )
