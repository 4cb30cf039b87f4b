"""The connector, noting which blocks it saves: a test that tampers with a piece has to know the piece's key."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cascade_kv.vllm.connector import CascadeConnector

from harness.servers import RECORD

if TYPE_CHECKING:
    from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorMetadata
    from vllm.v1.core.sched.output import SchedulerOutput


class RecordingConnector(CascadeConnector):
    """Does all that the connector does."""

    def build_connector_meta(self, scheduler_output: SchedulerOutput) -> KVConnectorMetadata:
        """The connector's plan; the keys of what it saves are noted, one a line in hexadecimal."""
        plan = super().build_connector_meta(scheduler_output)
        with open(os.environ[RECORD], "a") as record:
            record.writelines(f"{key.hex()}\n" for blocks in plan.saves for key in blocks.keys)
        return plan
