"""The rows of the table of `lab burst --engine scapy`."""

from __future__ import annotations

from lab.cli.packets import lines
from traffic.packet_record import PacketRecord

SYN = PacketRecord(
    t_s=1.087042,
    node="eni-private-a",
    interface="svc",
    direction="out",
    connection=2,
    source="10.0.1.4:536",
    destination="203.0.113.10:443",
    flags="SYN-ACK",
    length=44,
    meaning="translated back to 100.65.100.200:65535 by the Hyperplane ENI",
)


def test_a_pipe_gets_whole_lines() -> None:
    """One packet at one place is one line, whatever its length."""
    assert list(lines(SYN)) == [f"  2  1.087042 eni-private-a out  SYN-ACK {SYN.meaning}"]


def test_a_terminal_of_80_columns() -> None:
    """What does not fit goes on below the last column."""
    assert list(lines(SYN, 80)) == [
        "  2  1.087042 eni-private-a out  SYN-ACK translated back to 100.65.100.200:65535",
        "                                         by the Hyperplane ENI",
    ]
    assert all(len(line) <= 80 for line in lines(SYN, 80))
