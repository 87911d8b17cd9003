"""The small words of a topology file: names, hostnames, IPv4 ranges, durations, each with its complaints."""

from ipaddress import AddressValueError, IPv4Address, IPv4Network
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema

from lab.schema.limits import BLOCK_PREFIXES, LONGEST_TIMEOUT_S, SERVICE_VPC_PREFIXES

__all__ = [
    "Address",
    "AnyBlock",
    "Block",
    "GatewayService",
    "Hold",
    "Hostname",
    "LabName",
    "Name",
    "PortRange",
    "Ports",
    "ServiceBlock",
    "Source",
    "Timeout",
    "shown",
]

LONGEST_SHOWN = 60
LONGEST_NAME = 24
LONGEST_LAB_NAME = 32
LONGEST_HOSTNAME = 253  # RFC 1035 section 2.3.4: 255 octets on the wire
LONGEST_LABEL = 63  # the same section

NAME_PATTERN = r"[a-z]([a-z0-9-]*[a-z0-9])?"
LABEL_PATTERN = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
DURATION_PATTERN = r"([0-9]{1,9})(s|m|h)"
ADDRESS_PATTERN = r"[0-9]{1,3}(\.[0-9]{1,3}){3}"
RANGE_PATTERN = f"{ADDRESS_PATTERN}/[0-9]{{1,2}}"
PORTS_PATTERN = r"([0-9]{1,6})(?:-([0-9]{1,6}))?"
ALL_PORTS = "all"
FIRST_USER_PORT, LAST_PORT = 1_024, 65_535
SECONDS = {"s": 1, "m": 60, "h": 3600}


def shown(value: object) -> str:
    """A value as a person would write it in YAML, on one line and never long."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


# ── Names ───────────────────────────────────────────────────────────────────────────────────────────────────


def fit_name(text: str, longest: int) -> str:
    """The text, if it can be part of a namespace's name; ValueError says what is unfit."""
    if not text:
        raise ValueError("a name cannot be empty")
    if len(text) > longest:
        raise ValueError(f"{shown(text)} has {len(text)} characters, more than {longest}")
    if unfit := re.search(r"[^a-z0-9-]", text):
        raise ValueError(f"{shown(text)} cannot hold {shown(unfit.group())}")
    if not re.fullmatch(NAME_PATTERN, text):
        raise ValueError(f"{shown(text)} starts or ends with the wrong character")
    return text


def _name_type(longest: int) -> Any:
    return AfterValidator(lambda text: fit_name(text, longest))


Name = Annotated[
    str, _name_type(LONGEST_NAME), Field(json_schema_extra={"pattern": f"^{NAME_PATTERN}$", "maxLength": 24})
]
LabName = Annotated[
    str,
    _name_type(LONGEST_LAB_NAME),
    Field(json_schema_extra={"pattern": f"^{NAME_PATTERN}$", "maxLength": 32}),
]


def _fit_hostname(text: str) -> str:
    """RFC 1123 section 2.1: labels of letters, digits and hyphens; the last one cannot be a number."""
    labels = text.lower().split(".")
    if not text.isascii():  # also one that is ASCII in lower case, such as the Kelvin sign
        stranger = next(character for character in text if not character.isascii())
        raise ValueError(f"{shown(text)} has the character {stranger!a}, which DNS cannot hold")
    if len(text) > LONGEST_HOSTNAME:
        raise ValueError(f"{shown(text)} has {len(text)} characters, more than {LONGEST_HOSTNAME}")
    for label in labels:
        if len(label) > LONGEST_LABEL:
            raise ValueError(f"{shown(text)} has a label of {len(label)} characters, more than {LONGEST_LABEL}")
        if not re.fullmatch(LABEL_PATTERN, label):
            raise ValueError(f"{shown(text)} has the label {shown(label)}, which DNS cannot hold")
    if len(labels) == 1:
        raise ValueError(f"{shown(text)} has one label")
    if labels[-1].isdigit():
        raise ValueError(f"{shown(text)} looks like an address")
    return text.lower()


Hostname = Annotated[
    str,
    AfterValidator(_fit_hostname),
    Field(json_schema_extra={"format": "hostname", "pattern": r"\.", "maxLength": LONGEST_HOSTNAME}),
]


# ── Addresses ───────────────────────────────────────────────────────────────────────────────────────────────


def _text_of(kind: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not {kind}")  # noqa: TRY004 - pydantic collects ValueErrors
    if ":" in value:
        raise ValueError(f"{shown(value)} is IPv6, which the lab does not speak")
    return value


def _address(value: object) -> IPv4Address:
    if isinstance(value, IPv4Address):
        return value
    text = _text_of("an IPv4 address", value)
    try:
        return IPv4Address(text)
    except AddressValueError:
        raise ValueError(f"{shown(text)} is not an IPv4 address") from None


def _network(value: object) -> IPv4Network:
    if isinstance(value, IPv4Network):
        return value
    text = _text_of("an IPv4 range", value)
    if re.fullmatch(ADDRESS_PATTERN, text):
        raise ValueError(f"{text} has no prefix length")
    network = _loose_network(text)
    if network.network_address != IPv4Address(text.split("/")[0]):
        raise ValueError(f"{text} has host bits set (did you mean {network}?)")
    return network


def _loose_network(text: str) -> IPv4Network:
    try:
        network = IPv4Network(text, strict=False)
    except ValueError:
        network = None
    if network is None or not re.fullmatch(RANGE_PATTERN, text):
        raise ValueError(f"{shown(text)} is not an IPv4 range")
    return network


def _network_type(prefixes: range) -> Any:
    def of_a_fit_size(network: IPv4Network) -> IPv4Network:
        if network.prefixlen < prefixes[0]:
            raise ValueError(f"{network} is larger than a /{prefixes[0]}")
        if network.prefixlen > prefixes[-1]:
            raise ValueError(f"{network} is smaller than a /{prefixes[-1]}")
        return network

    return AfterValidator(of_a_fit_size)


_RANGE_SCHEMA = WithJsonSchema({"type": "string", "pattern": f"^{RANGE_PATTERN}$", "examples": ["10.0.0.0/16"]})

Address = Annotated[IPv4Address, BeforeValidator(_address), WithJsonSchema({"type": "string", "format": "ipv4"})]
Block = Annotated[IPv4Network, _network_type(BLOCK_PREFIXES), BeforeValidator(_network), _RANGE_SCHEMA]
ServiceBlock = Annotated[IPv4Network, _network_type(SERVICE_VPC_PREFIXES), BeforeValidator(_network), _RANGE_SCHEMA]
AnyBlock = Annotated[IPv4Network, BeforeValidator(_network), _RANGE_SCHEMA]


def _source(value: object) -> IPv4Network | str:
    """A range, or a name: what has a dot or a slash is meant as an address."""
    if isinstance(value, str) and value and not re.search(r"[./:]", value):
        return fit_name(value, LONGEST_NAME)
    return _network(value)


Source = Annotated[
    IPv4Network | str,
    PlainValidator(_source),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^({RANGE_PATTERN}|{NAME_PATTERN})$", "examples": ["10.0.0.0/8"]}),
]


GatewayService = Literal["s3", "dynamodb"]
"""What AWS has gateway endpoints for.
https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html
"""


# ── Ports ───────────────────────────────────────────────────────────────────────────────────────────────────


def _ports(value: object) -> str:
    """`443`, `1024-65535` or `all`, as one text each."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if text == ALL_PORTS:
        return ALL_PORTS
    if not isinstance(text, str) or not (match := re.fullmatch(PORTS_PATTERN, text)):
        raise ValueError(f"{shown(value)} is neither a port nor a range of ports")
    first, last = int(match[1]), int(match[2] or match[1])
    if last > LAST_PORT:
        raise ValueError(f"{last} is more than {LAST_PORT}")
    if first > last:
        raise ValueError(f"{text} ends before it begins")
    return str(first) if first == last else f"{first}-{last}"


Ports = Annotated[
    str,
    BeforeValidator(_ports),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": LAST_PORT},
                {"type": "string", "pattern": f"^({PORTS_PATTERN}|{ALL_PORTS})$", "examples": ["1024-65535", "all"]},
            ]
        }
    ),
]


def _port_range(value: object) -> range:
    """`1024-65535` as the ports in it."""
    if isinstance(value, range):
        return value
    text = _ports(value)
    if text == ALL_PORTS:
        raise ValueError(f"{shown(value)} is not a range of ports")
    first, _, last = text.partition("-")
    if int(first) < FIRST_USER_PORT:
        raise ValueError(f"{first} is less than {FIRST_USER_PORT:,}")
    return range(int(first), int(last or first) + 1)


PortRange = Annotated[
    range,
    PlainValidator(_port_range),
    PlainSerializer(lambda ports: f"{ports[0]}-{ports[-1]}"),
    WithJsonSchema({"type": "string", "pattern": f"^{PORTS_PATTERN}$", "examples": ["32768-60999"]}),
]


# ── Durations ───────────────────────────────────────────────────────────────────────────────────────────────


def _seconds(value: object) -> int:
    """Whole seconds only: the kernel's conntrack timeouts know nothing finer."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (match := re.fullmatch(DURATION_PATTERN, value)):
        return int(match[1]) * SECONDS[match[2]]
    raise ValueError(f"{shown(value)} is not a duration in whole seconds")


def _duration_type(shortest: int) -> Any:
    def of_a_fit_length(seconds: int) -> int:
        if seconds < shortest:
            raise ValueError(f"{seconds:,} s is shorter than {shortest} s")
        if seconds > LONGEST_TIMEOUT_S:
            raise ValueError(f"{seconds:,} s is longer than {LONGEST_TIMEOUT_S:,} s")
        return seconds

    return AfterValidator(of_a_fit_length)


def _duration_schema(shortest: int) -> WithJsonSchema:
    number = {"type": "integer", "minimum": shortest, "maximum": LONGEST_TIMEOUT_S}
    text = {"type": "string", "pattern": f"^{DURATION_PATTERN}$", "examples": ["350s", "5m", "1h"]}
    return WithJsonSchema({"anyOf": [number, text]})


Timeout = Annotated[int, _duration_type(1), BeforeValidator(_seconds), _duration_schema(1)]
Hold = Annotated[int, _duration_type(0), BeforeValidator(_seconds), _duration_schema(0)]
