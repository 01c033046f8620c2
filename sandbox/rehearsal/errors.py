"""Why a rehearsal stops; apart because the one who plays and what is played both raise it."""


class AloneError(RuntimeError):
    """A step failed, or the account does not show what it should."""
