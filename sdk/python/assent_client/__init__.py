"""What does a program need that asks Assent? A client for the whole API, and a gate that answers from memory."""

from assent_client.access import Answer, Use
from assent_client.gate import AsyncGate, Gate
from assent_client.middleware import GateMiddleware
from assent_client.notes import NoteRefused
from assent_client.replica import FeedRefused, Hooks, Status, Untrusted, Withheld

__all__ = [
    "Answer",
    "AsyncGate",
    "FeedRefused",
    "Gate",
    "GateMiddleware",
    "Hooks",
    "NoteRefused",
    "Status",
    "Untrusted",
    "Use",
    "Withheld",
]
