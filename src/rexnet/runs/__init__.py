"""How any job runs: files, folders, processes, memory, progress; knows no network."""

from rexnet.runs.files import (
    append_jsonl,
    read_json,
    read_jsonl,
    write_bytes,
    write_json,
    write_jsonl,
    write_text,
)
from rexnet.runs.folder import (
    JOBS,
    check,
    check_new,
    check_same,
    check_writable,
    describe,
    differences,
    environment,
    locked,
    opened,
    told,
)

__all__ = [
    "JOBS",
    "append_jsonl",
    "check",
    "check_new",
    "check_same",
    "check_writable",
    "describe",
    "differences",
    "environment",
    "locked",
    "opened",
    "read_json",
    "read_jsonl",
    "told",
    "write_bytes",
    "write_json",
    "write_jsonl",
    "write_text",
]
