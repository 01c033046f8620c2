"""The closed lists of usage: what a caller may say of itself, and what may be said of a change.

Used by events, roll-ups and whoever reads them. Separate because these lists are the privacy rule:
what is not on a list cannot be written down.
"""

from __future__ import annotations

from enum import StrEnum


class Feature(StrEnum):
    """What the person was doing: Copilot's buckets, plus `unknown`, which is never dropped."""

    CODE_COMPLETION = "code_completion"
    CHAT_ASK = "chat_ask"
    CHAT_EDIT = "chat_edit"
    CHAT_AGENT = "chat_agent"
    AGENT_EDIT = "agent_edit"
    CHAT_INLINE = "chat_inline"
    CLI = "cli"
    REVIEW = "review"
    UNKNOWN = "unknown"


class Client(StrEnum):
    """The program that called, recognised by its user agent."""

    OPENAI_PYTHON = "openai_python"
    OPENAI_NODE = "openai_node"
    RINGFENCE_CLI = "ringfence_cli"
    RINGFENCE_PYTHON = "ringfence_python"
    CONTINUE = "continue"
    CURL = "curl"
    OTHER = "other"
    UNKNOWN = "unknown"


class Ide(StrEnum):
    """The editor the caller says it runs in."""

    VSCODE = "vscode"
    JETBRAINS = "jetbrains"
    NEOVIM = "neovim"
    VIM = "vim"
    EMACS = "emacs"
    ECLIPSE = "eclipse"
    VISUAL_STUDIO = "visual_studio"
    XCODE = "xcode"
    OTHER = "other"
    UNKNOWN = "unknown"


class Language(StrEnum):
    """The programming language the caller says it works in."""

    C = "c"
    CPP = "cpp"
    CSHARP = "csharp"
    GO = "go"
    JAVA = "java"
    JAVASCRIPT = "javascript"
    KOTLIN = "kotlin"
    PHP = "php"
    PYTHON = "python"
    R = "r"
    RUBY = "ruby"
    RUST = "rust"
    SCALA = "scala"
    SHELL = "shell"
    SQL = "sql"
    SWIFT = "swift"
    TYPESCRIPT = "typescript"
    OTHER = "other"
    UNKNOWN = "unknown"


class Decision(StrEnum):
    """What became of a change that was shown."""

    ACCEPTED = "accepted"
    PARTIAL = "partial"
    """Some of its lines were taken."""
    REJECTED = "rejected"
    """Refused by an explicit act."""
    DISMISSED = "dismissed"
    """Put away without a judgement."""
    SUPERSEDED = "superseded"
    """Another change took its place before anyone decided."""
    EXPIRED = "expired"
    """Nobody decided until it was no longer offered."""


class ApplyMode(StrEnum):
    """Who put a change into the files."""

    USER = "user"
    AUTO_APPROVED = "auto_approved"
    AUTONOMOUS = "autonomous"


class Horizon(StrEnum):
    """When the survival of applied lines was looked at."""

    COMMIT = "commit"
    MERGE = "merge"
    DAYS_7 = "7d"
    DAYS_30 = "30d"


class CommentType(StrEnum):
    """What a review's suggestion was about."""

    BUG = "bug"
    SECURITY = "security"
    PERFORMANCE = "performance"
    STYLE = "style"
    TEST = "test"
    DOCUMENTATION = "documentation"
    OTHER = "other"
    UNKNOWN = "unknown"


class Export(StrEnum):
    """What leaves the boundary; the customer decides."""

    NONE = "none"
    """Nothing but this word, which says that the gateway lives."""
    AGGREGATE = "aggregate"
    """Counts over cells of at least five people."""
    EVENTS = "events"
    """Those counts, and every event with a pseudonym in place of the person."""


class EgressClass(StrEnum):
    """Where the answer came from: `boundary` is the only class until provider endpoints exist."""

    BOUNDARY = "boundary"
    NONE = "none"
    """Nothing was dispatched (the request was refused)."""


class UsageSource(StrEnum):
    """Where the token counts come from."""

    REPORTED = "reported"
    """The engine's own final figures."""
    COUNTED = "counted"
    """Chunks counted by the gateway because the stream ended before the engine reported."""


class ErrorType(StrEnum):
    """Why a request did not end well; `none` when it did."""

    NONE = "none"
    MODEL_NOT_FOUND = "model_not_found"
    """Unknown to the boundary or outside the caller's entitlement: the two are not told apart."""
    INVALID_REQUEST = "invalid_request"
    """The gateway or the engine refused the request's shape (4xx)."""
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    """No connection to the engine."""
    UPSTREAM_ERROR = "upstream_error"
    """The engine answered 5xx, or its stream broke."""
    UPSTREAM_TIMEOUT = "upstream_timeout"
    CLIENT_CANCELLED = "client_cancelled"
    """The caller went away before the answer was complete."""
    INTERRUPTED = "interrupted"
    """The gateway itself died while it answered; written at its next start."""


class Operation(StrEnum):
    """`gen_ai.operation.name`."""

    CHAT = "chat"
    TEXT_COMPLETION = "text_completion"
