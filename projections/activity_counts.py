"""Activity counts: how often did a person do what, in a stretch of the log?"""

from domain.authority import Reach
from domain.rulebook import EVENTS
from projections import activity, pages
from projections.activity import Acting, Seat
from projections.pages import Asked, Page
from projections.statements import Connection

TABLE, TABLES = activity.TABLE, activity.TABLES

FIELDS = ("person", "type", "count", "first", "last")
"""What an item tells: how often there was such an event, and the positions of the first and the last."""


async def page(conn: Connection, reach: Reach, seat: Seat, asked: Asked, acting: Acting) -> Page:
    """By type of event, as far as the reader may know; all on one page. Raises Malformed, NotReady."""
    at = await pages.common_position(conn, TABLES, asked.at)
    sight = activity.shown(reach, seat, acting.person)
    if sight is None:
        return Page([], None, at)
    query = (
        "SELECT type, count(*), min(position), max(position) FROM {act} WHERE {conditions}"
        " GROUP BY type ORDER BY type LIMIT {limit}"
    )
    found = await activity.rows(conn, query, [*sight, *activity.asked_for(acting, at)], len(EVENTS))
    return Page([dict(zip(FIELDS, (acting.person, *each), strict=True)) for each in found], None, at)
