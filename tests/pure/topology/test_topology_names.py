"""What nodes are called."""

from __future__ import annotations

import pytest

from lab.schema.names import name_of_eni, node_name_of_function, node_name_of_nat_gateway, node_name_of_server


@pytest.mark.parametrize(("name", "node"), [("natgw", "natgw"), ("nat-a", "nat-a"), ("blue", "nat-blue")])
def test_nat_gateway(name: str, node: str) -> None:
    """A NAT gateway's node starts with `nat`, once."""
    assert node_name_of_nat_gateway(name) == node


def test_prefixes() -> None:
    """Functions, servers and ENIs each have a prefix that keeps them apart."""
    assert node_name_of_function("a") == "fn-a"
    assert node_name_of_server("a") == "srv-a"
    assert name_of_eni("a", ["default"]) == "eni-a"
    assert name_of_eni("a", ["db", "web"]) == "eni-a-db-web"
