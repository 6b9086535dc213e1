"""Ports that are free, and stay free until a slow process binds them."""

from __future__ import annotations

import socket

from local.ports import HOST, LOWEST, RANGE_PATH, free_ports


def test_ports_differ_and_can_be_bound() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as listener:
            listener.bind((HOST, port))


def test_ports_are_not_those_of_outgoing_connections() -> None:
    lowest_outgoing = int(RANGE_PATH.read_text().split()[0])
    assert all(LOWEST <= port < lowest_outgoing for port in free_ports(20))
