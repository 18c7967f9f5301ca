"""What becomes of an append whose connection is lost? It is told at once, and leaves nothing that watches others."""

import asyncio
import os
import signal
import socket
import time

import psycopg
import pytest
import uvloop
from psycopg import AsyncConnection

from services.log.append import PREPARE, append
from services.log.merkle import Frontier
from services.log.schema import LOG_LOCK
from tests.crash.processes import state


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


def test_an_append_that_nobody_reads_any_more_fails_at_once(database: str) -> None:
    """The backend says goodbye with our words unread: there is something to read, and the connection is broken."""

    async def fail_at_once() -> None:
        async with await AsyncConnection.connect(database, autocommit=True) as conn:
            await conn.execute(PREPARE)
            backend = conn.pgconn.backend_pid
            os.kill(backend, signal.SIGSTOP)
            reached(backend, "T")
            appending = append(conn, 0, [], [], [], [], [], [], [], Frontier().root(), b"", [])
            waiting = asyncio.ensure_future(appending)
            await asyncio.sleep(0)
            os.kill(backend, signal.SIGTERM)
            os.kill(backend, signal.SIGCONT)
            reached(backend, "X")  # the loop hears of it all at once
            async with asyncio.timeout(5):
                with pytest.raises(psycopg.OperationalError):
                    await waiting

    uvloop.run(fail_at_once())


def reached(pid: int, wanted: str) -> None:
    """Wait, and let nothing else happen here, until the process is in that state."""
    while state(pid) != wanted:
        time.sleep(0.005)
