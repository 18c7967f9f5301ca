"""What does an append leave behind when its connection is lost? Nothing that watches what others do."""

import asyncio
import os
import socket

import psycopg
import pytest
from psycopg import AsyncConnection

from services.log.append import PREPARE, append
from services.log.merkle import Frontier
from services.log.schema import LOG_LOCK


async def test_a_lost_connections_socket_number_is_free_for_the_next_who_gets_it(database: str) -> None:
    """libpq closes the socket while it reads; whoever opens the next gets its number, and wants to be left alone."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    heard = asyncio.Event()

    def take_the_number() -> None:
        """In every turn of the loop, until the number is free."""
        try:
            os.fstat(number)
        except OSError:
            os.dup2(ours.fileno(), number)
            loop.add_reader(number, heard.set)
        else:
            loop.call_soon(take_the_number)

    async with (
        await AsyncConnection.connect(database, autocommit=True) as lost,
        await AsyncConnection.connect(database, autocommit=True) as other,
    ):
        await lost.execute(PREPARE)
        number = lost.pgconn.socket
        await other.execute("SELECT pg_advisory_lock(%s)", (LOG_LOCK,))
        waiting = asyncio.ensure_future(append(lost, 0, [], [], [], [], [], [], [], Frontier().root(), b"", []))
        loop.call_soon(take_the_number)
        await other.execute("SELECT pg_terminate_backend(%s)", (lost.pgconn.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            await waiting
        theirs.send(b"!")
        async with asyncio.timeout(5):
            await heard.wait()
        loop.remove_reader(number)
        os.close(number)
    ours.close()
    theirs.close()
