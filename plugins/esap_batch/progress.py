"""What a waiting task says of its run, under XCom keys that the portal reads."""

from __future__ import annotations

PROGRESS = "progress"  # {"text": in words, "done", "of", ...}
MARK = "esap_phase"  # a UWS phase that Airflow does not know of, or nothing when it is over
SUSPENDED = "SUSPENDED"  # credentials ran out: goes on after a login
UNKNOWN = "UNKNOWN"  # the back end does not answer
