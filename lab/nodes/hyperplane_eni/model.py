"""The settings of Hyperplane ENIs as a user writes them."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, WrapSerializer

from lab.schema.base import DURATION, HalfOpenTimeout, IdleTimeout, Limit, Model, PortHold, Whole, YesNo
from lab.schema.limit import ConnectionLimit
from lab.schema.limits import (
    ENI_CONNECTIONS,
    ENI_IDLE_TIMEOUT_S,
    ENI_SCALING_DEFAULT,
    ENI_SCALING_MOST,
    HALF_OPEN_TIMEOUT_S,
    PORT_HOLD_S,
)
from lab.schema.words import Timeout, shown

__all__ = ["EniScaling", "HyperplaneEniSettings"]


class EniScaling(Model):
    """Further ENIs for a subnet and security-group set, each some time after the one before it was full."""

    after_s: Timeout = Field(
        alias="after",
        description="the lag, from an ENI's first refusal to the ENI that appears beside it, "
        f"is {DURATION} (AWS publishes none)",
    )
    most: Whole = Field(
        ENI_SCALING_DEFAULT,
        ge=2,
        le=ENI_SCALING_MOST,
        description="the most ENIs that one subnet and security-group set may come to are 2 to 8",
    )


OFF = "off"


def _scaling(value: object) -> object:
    """`off` is a word in YAML 1.2 and false in YAML 1.1; nothing at all is neither."""
    if value is None:
        raise ValueError(f"{shown(value)} is neither {OFF} nor a mapping")
    return None if value == OFF or value is False else value


def _written_scaling(value: EniScaling | None, write: SerializerFunctionWrapHandler) -> object:
    return OFF if value is None else write(value)


def _scaling_schema(schema: dict[str, Any]) -> None:
    """What an editor may offer: a mapping, or `off` in either YAML's meaning."""
    mapping, _ = schema["anyOf"]
    schema.update(anyOf=[mapping, {"enum": [OFF, False]}], default=OFF)


Scaling = Annotated[EniScaling | None, BeforeValidator(_scaling), WrapSerializer(_written_scaling)]


class HyperplaneEniSettings(Model):
    """How each Hyperplane ENI counts and forgets connections, and whether others come to its help."""

    connection_limit: Limit = Field(
        ENI_CONNECTIONS,
        ge=1,
        le=ENI_CONNECTIONS,
        description="a Hyperplane ENI carries 1 to 65,000 connections (a port each, of 65,535)",
    )
    idle_timeout_s: IdleTimeout = ENI_IDLE_TIMEOUT_S
    half_open_timeout_s: HalfOpenTimeout = HALF_OPEN_TIMEOUT_S
    port_hold_s: PortHold = PORT_HOLD_S
    per_destination: YesNo = Field(
        False,  # noqa: FBT003 - pydantic's way to write a default
        description="per_destination, a limit for each unique destination (address, port, protocol) "
        "instead of one in total, is true or false",
    )
    eni_scaling: Scaling = Field(
        None,
        description="ENI scaling, further ENIs when one is full, is off or a mapping such as {after: 60s, most: 4}",
        json_schema_extra=_scaling_schema,
    )

    @property
    def limit(self) -> ConnectionLimit:
        """What each ENI carries to one server."""
        return ConnectionLimit(
            self.connection_limit, grows_after_s=self.eni_scaling.after_s if self.eni_scaling else None
        )

    @property
    def most_enis(self) -> int:
        """How many ENIs one subnet and security-group set may come to."""
        return self.eni_scaling.most if self.eni_scaling else 1
