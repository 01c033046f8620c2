"""Which path of our own a browser may be sent to after signing in.

Used by `sign_in`. A whole address would make the control plane a redirector for anybody's page,
with our name in the link; so only a path counts, and nothing that a browser reads as a host.
"""

from __future__ import annotations

LONGEST = 2000


def is_local_path(value: str) -> bool:
    """Tell whether a browser stays here when sent to `value`.

    Browsers drop control characters, and read a backslash as a slash, so `/\\host` and `/\\t/host`
    are other hosts to them (URL Standard, 4.4).
    """
    return (
        len(value) <= LONGEST
        and value.startswith("/")
        and not value.startswith("//")
        and all("\x20" < sign < "\x7f" and sign != "\\" for sign in value)
    )
