"""What services write: kept as bytes, shown as lines.

    logs = Logs(directory)                  # owned by the journal, `colony.journal`
    feed = logs.attach("my-app", "web", "stdout", fd)
    page = logs.page("my-app", ["web"], Filter(count=100, grep="error"))
    for line in page.lines:
        print(line.number, line.at, line.stream, line.text)

`ring`, `lines`, `query` and the format in `files` are pure; `store` reads, `writer` writes.
"""

from colony.logs.lines import LONGEST, LineSplitter, LogLine, Stream
from colony.logs.query import Filter, LogPage
from colony.logs.store import Feed, Limits, Logs

__all__ = [
    "LONGEST",
    "Feed",
    "Filter",
    "Limits",
    "LineSplitter",
    "LogLine",
    "LogPage",
    "Logs",
    "Stream",
]
