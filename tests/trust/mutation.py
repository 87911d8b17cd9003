"""Inputs that are nearly right: bytes, JSON and YAML changed at random, and YAML that nobody would write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import json
from random import Random
import re
from typing import Any

__all__ = ["Mutation", "bytes_changed", "either", "json_changed", "yaml_changed"]

Mutation = Callable[[Random, bytes], bytes]
"""Another input, made from one."""

HOSTILE_TEXTS = (
    "",
    " ",
    "\0",
    "\n",
    "\r\nerror: forged",
    "\x1b[2J\x1b]0;title\x07",
    "\u202e\u2066\u2069",
    "\u2028",
    "\u212a",  # the Kelvin sign, whose small letter is an ASCII k
    "\ufeff",
    "\U0001f600",
    "\\ud83d",
    "../../../etc/passwd",
    "/dev/zero",
    "-rf",
    "$(id)",
    "`id`; id | id && id",
    '"; flush ruleset; "',
    "{ type filter hook input priority 0; }",
    "%s%n{0.__class__}",
    "!!python/object/apply:os.system [id]",
    "<<",
    "null",
    "10.0.0.0/33",
    "0.0.0.0/0",
    "255.255.255.255",
    "::1",
    "0x1f",
    "1_000",
    "1e400",
    ".nan",
    "350s",
    "9" * 400 + "s",
    "a" * 5_000,
    "é" * 300,
    ".".join("a" * 63 for _ in range(5)),
)
HOSTILE_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    float("nan"),
    float("inf"),
    1e308,
    255,
    65_536,
    2**31,
    2**32,
    2**63,
    2**64,
    10**400,
    [],
    {},
    [[]],
    {"": None},
    *HOSTILE_TEXTS,
)
YAML_SIGNS = (
    "&a ",
    "*a",
    "*b",
    "!!int ",
    "!!binary ",
    "!!set ",
    "!<tag:x> ",
    "!",
    "? ",
    ": ",
    "- ",
    "--- ",
    "...",
    "%YAML 1.1\n---\n",
    "%TAG ! x\n",
    "|\n",
    ">-9\n",
    "{",
    "}",
    "[",
    "]",
    "#",
    "'",
    '"',
    '"\\x',
    "<<: *a",
    "\t",
    "@",
    "`",
)
_SCALAR = re.compile(r"[^\s:,\[\]{}]+")


def either(*mutations: Mutation) -> Mutation:
    """One of these, each as often as the others."""
    return lambda random, data: random.choice(mutations)(random, data)


def bytes_changed(random: Random, data: bytes) -> bytes:
    """A few changes of bytes: flipped, set, inserted, left out, doubled, cut off."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 5))):
        at = random.randrange(len(changed) + 1)
        end = min(at + random.choice((1, 2, 4, 16, 64)), len(changed))
        match random.randrange(7):
            case 0 if at < len(changed):
                changed[at] ^= 1 << random.randrange(8)
            case 1:
                changed[at:end] = random.randbytes(end - at)
            case 2:
                changed[at:at] = random.randbytes(random.choice((1, 2, 8)))
            case 3:
                del changed[at:end]
            case 4:
                changed[at:at] = changed[at:end] * random.choice((1, 1, 40))
            case 5:
                del changed[at:]
            case _:
                changed[at:end] = bytes(random.choice((b"\0", b"\xff", b"\x80", b"\x7f"))) * (end - at)
    return bytes(changed)


def json_changed(random: Random, data: bytes) -> bytes:
    """JSON with some of its values replaced, left out, doubled or moved; each line is a document of its own."""
    try:
        documents = [json.loads(line) for line in _documents(data)]
    except (ValueError, RecursionError):
        return bytes_changed(random, data)
    if not documents:
        return json.dumps(random.choice(HOSTILE_VALUES)).encode()
    try:
        for _ in range(random.choice((1, 1, 2, 4))):
            at = random.randrange(len(documents))
            documents[at] = _value_changed(random, documents[at])
        if random.random() < 0.05:
            documents.append(random.choice(documents))
        text = "\n".join(json.dumps(document, ensure_ascii=random.random() < 0.5) for document in documents)
    except (RecursionError, MemoryError):  # doubled again and again, it is too deep or too long to be written
        return bytes_changed(random, data)
    return text.encode(errors="surrogatepass")


def _documents(data: bytes) -> Sequence[bytes]:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return data.splitlines()
    return [data]


def _value_changed(random: Random, value: Any) -> Any:
    """The value with something in it changed, each level as likely as the one below."""
    if not isinstance(value, list | dict) or not value or random.random() < 0.1:
        return _replaced(random, value)
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = random.choice(keys)
    match random.randrange(12):
        case 0:
            changed = value.copy()
            del changed[key]
            return changed
        case 1:
            return {**value, random.choice(HOSTILE_TEXTS): value[key]} if isinstance(value, dict) else [*value, *value]
        case 2:
            other = random.choice(keys)
            return _with(_with(value, key, value[other]), other, value[key])
    return _with(value, key, _value_changed(random, value[key]))


def _with(value: Any, key: Any, inner: Any) -> Any:
    changed = value.copy()
    changed[key] = inner
    return changed


def _replaced(random: Random, value: Any) -> Any:
    match random.randrange(5):
        case 0 if isinstance(value, str):
            at = random.randrange(len(value) + 1)
            return value[:at] + random.choice(HOSTILE_TEXTS) + value[at:]
        case 1 if isinstance(value, int | float):
            return random.choice((value + 1, -value, value * 1000, str(value), [value]))
        case 2:
            return [value] * random.choice((1, 2, 300))
        case 3:
            return _nested(value, random.choice((2, 60, 900)))
    return random.choice(HOSTILE_VALUES)


def _nested(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = [value]
    return value


def yaml_changed(random: Random, data: bytes) -> bytes:
    """YAML with words, lines and signs changed; one in ten is random YAML instead."""
    if random.random() < 0.1:
        return ("\n".join(_yaml(random, 0) for _ in range(random.choice((1, 1, 3))))).encode(errors="surrogatepass")
    text = data.decode(errors="replace")
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        text = random.choice((_word_changed, _word_changed, _line_changed, _sign_put))(random, text)
    return text.encode(errors="surrogatepass")


def _word_changed(random: Random, text: str) -> str:
    words = list(_SCALAR.finditer(text))
    if not words:
        return text + random.choice(HOSTILE_TEXTS)
    word, other = random.choice(words), random.choice(words)
    hostile = random.choice(HOSTILE_TEXTS)
    new = random.choice((hostile, json.dumps(hostile), _number(random), other[0], word[0] + hostile, "[]", "{}"))
    return text[: word.start()] + new + text[word.end() :]


def _number(random: Random) -> str:
    known = (0, 1, -1, 9, 65_535, 65_536, 2**32, 2**63, 10**400, 0.5)
    return random.choice((*map(str, known), "9" * random.randrange(6_000)))


def _line_changed(random: Random, text: str) -> str:
    lines = text.split("\n")
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    match random.randrange(6):
        case 0:
            del lines[at]
        case 1:
            lines.insert(other, lines[at])
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            lines[at] = " " * random.choice((1, 2, 60)) + lines[at]
        case 4:
            lines[at] = lines[at].lstrip()
        case _:
            lines[at : at + 1] = [lines[at]] * random.choice((2, 30))
    return "\n".join(lines)


def _sign_put(random: Random, text: str) -> str:
    at = random.randrange(len(text) + 1)
    return text[:at] + random.choice(YAML_SIGNS) + text[at:]


def _yaml(random: Random, depth: int) -> str:  # noqa: PLR0911 -- a kind of node each
    """Any YAML: aliases of aliases, tags, blocks, deep nesting, keys that are lists."""
    deeper = depth + 1
    kind = random.randrange(9) if depth < 6 else 8
    indent = "\n" + "  " * depth
    match kind:
        case 0:
            return "".join(f"{indent}- {_yaml(random, deeper)}" for _ in range(random.randrange(4)))
        case 1 | 2:
            return "".join(f"{indent}{_key(random)}: {_yaml(random, deeper)}" for _ in range(random.randrange(5)))
        case 3:
            return f"[{', '.join(_yaml(random, 9) for _ in range(random.randrange(4)))}]"
        case 4:
            return f"{{{', '.join(f'{_key(random)}: {_yaml(random, 9)}' for _ in range(random.randrange(4)))}}}"
        case 5:
            return f"&{random.choice('abc')} {_yaml(random, deeper)}"
        case 6:
            levels = random.choice((3, 30, 300, 3_000))
            return random.choice("[{") * levels
        case 7:
            doubled = "".join(f"{indent}x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 12))
            return f"{indent}x0: &x0 [lol]{doubled}"
    return random.choice((*YAML_SIGNS, *HOSTILE_TEXTS, _number(random), f"*{random.choice('abc')}"))


def _key(random: Random) -> str:
    known = ("version", "name", "vpc", "subnets", "cidr", "functions", "servers", "service_vpc", "nat_gateways")
    return random.choice((*known, *known, *HOSTILE_TEXTS, "? [a]", "<<", "1", "true", "~"))
