"""The webhook by which a Label Studio of ours says that somebody answered, kept at the address that we have now.

What becomes of it is `api/label_studio.py`. It only hastens: whatever is not said is found by the sensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tidemill.labels.label_studio_http import Connection

ACTIONS = ("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED")


@dataclass(frozen=True)
class Hook:
    """Where Label Studio says that somebody answered, and what it sends along to be believed."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


def ensure_hook(server: Connection, project: int, hook: Hook) -> None:
    """Have the server tell us of answers, at the address that we have now."""
    wanted = {
        "url": hook.url,
        "headers": dict(hook.headers),
        "send_payload": False,
        "send_for_all_actions": False,
        "actions": list(ACTIONS),
        "is_active": True,
    }
    path = urlsplit(hook.url).path
    known = server.call("GET", "/api/webhooks/", params={"project": project})
    ours = next((each for each in known if urlsplit(each["url"]).path == path), None)
    if ours is None:
        server.call("POST", "/api/webhooks/", json={"project": project, **wanted})
    elif any(ours[name] != wanted[name] for name in ("url", "headers", "is_active")):
        server.call("PATCH", f"/api/webhooks/{ours['id']}/", json=wanted)
