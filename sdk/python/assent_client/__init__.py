"""What does a program need that asks Assent? A client for the whole API, and a gate that answers from memory."""

from assent_client.access import Answer, Use
from assent_client.client import AsyncClient, Client
from assent_client.gate import AsyncGate, Gate
from assent_client.middleware import GateMiddleware
from assent_client.notes import NoteRefused
from assent_client.problems import Problem, Unreachable
from assent_client.receipts import ReceiptRefused, verify_receipt
from assent_client.replica import FeedRefused, Hooks, Status, Untrusted, Withheld

__all__ = [
    "Answer",
    "AsyncClient",
    "AsyncGate",
    "Client",
    "FeedRefused",
    "Gate",
    "GateMiddleware",
    "Hooks",
    "NoteRefused",
    "Problem",
    "ReceiptRefused",
    "Status",
    "Unreachable",
    "Untrusted",
    "Use",
    "Withheld",
    "verify_receipt",
]
