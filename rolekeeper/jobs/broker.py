"""Redis as the broker, when it refuses: a replica that is read-only, a disk or a memory that is full.

Kombu takes such an answer for a mistake in the program, and Celery ends the worker. It passes like a lost connection.
"""

from __future__ import annotations

import redis
from kombu.transport.redis import Transport


class PatientTransport(Transport):
    """Kombu's transport. What Redis refuses is tried again with a new connection, for as long as it takes."""

    connection_errors = (*Transport.connection_errors, redis.ResponseError)
