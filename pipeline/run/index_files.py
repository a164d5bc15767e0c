"""Keeps the index of the ledger up while a run goes, so that the next start reads little."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ddgm.pipeline.run.events import BlockDone, BlockFailed, RunObserver
from ddgm.pipeline.store.ledger import THOUSAND
from ddgm.pipeline.store.tables.index import LedgerIndex

log = logging.getLogger(__name__)


class IndexFiles(RunObserver):
    """Indexes a thousand records once the last of their blocks has ended, in a thread of its own.

    Args:
        index: of the run's ledger.
        pending: blocks that this start is to do.
    """

    def __init__(self, index: LedgerIndex, pending: np.ndarray) -> None:
        self._index, self._left = index, np.bincount(pending // THOUSAND)
        self._thread = ThreadPoolExecutor(1, "ddgm-index")

    def on_block_done(self, event: BlockDone) -> None:
        """Count the block."""
        self._count(event.record.block)

    def on_block_failed(self, event: BlockFailed) -> None:
        """Count the block."""
        self._count(event.record.block)

    def close(self) -> None:
        """Wait for the file that is being written; write no more."""
        self._thread.shutdown(cancel_futures=True)

    def _count(self, block: int) -> None:
        thousand = block // THOUSAND
        self._left[thousand] -= 1
        if not self._left[thousand]:
            self._thread.submit(self._add, thousand)

    def _add(self, thousand: int) -> None:
        try:
            self._index.add(thousand)
        except Exception as error:  # it saves time, and is no reason to fail
            log.info("ledger: the index of thousand %d was not written: %s", thousand, error)
