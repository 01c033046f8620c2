"""The columns of R3 and how they are printed; used by the two modules that make its rows."""

from __future__ import annotations

from wire.report import Cell, Column

_WHO, _UNDER, _WHEN, _DID, _MATCH = "Session", "Under", "When (UTC)", "What", "Match"
CELLS = (
    Cell(title=_WHO, width=2.5),
    Cell(title=_UNDER, width=2.3),
    Cell(title=_WHEN, width=1.6),
    Cell(title=_DID, width=2.8),
    Cell(title=_MATCH, width=1.9),
)
COLUMNS = (
    Column(key="person", title="Person", cell=_WHO),
    Column(key="record", title="Record", cell=_WHO),
    Column(key="session", title="Session", cell=_WHO),
    Column(key="boundary", title="Boundary", cell=_WHO),
    Column(key="external_id_hash", title="External ID", cell=_WHO),
    Column(key="role", title="Role", cell=_UNDER),
    Column(key="request", title="Request", cell=_UNDER),
    Column(key="requested_by", title="Requested by", cell=_UNDER),
    Column(key="approved_by", title="Approved by", cell=_UNDER),
    Column(key="ticket", title="Ticket", cell=_UNDER),
    Column(key="at", title="At", cell=_WHEN),
    Column(key="opened", title="Opened", cell=_WHEN),
    Column(key="closed", title="Closed", cell=_WHEN),
    Column(key="source_ip", title="From", cell=_WHEN),
    Column(key="action", title="Action", cell=_DID),
    Column(key="service", title="Service", cell=_DID),
    Column(key="resource", title="Resource", cell=_DID),
    Column(key="result", title="Result", cell=_DID),
    Column(key="event_id", title="Event", cell=_DID),
    Column(key="data_plane", title="Data plane", cell=_DID),
    Column(key="match", title="Match", cell=_MATCH),
    Column(key="why", title="Because", cell=_MATCH),
)
TOTALS = ("record", "match", "boundary", "service", "result", "data_plane")

MATCHED = "matched"
ONLY_OURS = "only ours"
ONLY_THEIRS = "only theirs"
NOT_COMPARED = "not compared"
NO_TRAIL = "does not apply"
EMPTY = dict.fromkeys((column.key for column in COLUMNS), "")
