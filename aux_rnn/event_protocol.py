"""The parts of `tensorboardX` that are used here, imported without PyTorch.

`tensorboardX` imports PyTorch where it finds it, to take its tensors; that costs seconds and hundreds of MiB, in a run
that has none of them.
"""

import sys

IS_BLOCKED = "torch" not in sys.modules
if IS_BLOCKED:
    sys.modules["torch"] = None  # type: ignore[assignment]  # to the import system: there is no such module
try:
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.proto.summary_pb2 import Summary
    from tensorboardX.record_writer import RecordWriter
finally:
    if IS_BLOCKED:
        del sys.modules["torch"]

__all__ = ["Event", "RecordWriter", "SessionLog", "Summary"]
