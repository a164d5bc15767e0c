"""Lightning callbacks: non-finite losses, speed, checkpoints, signals, validation."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor

from ddgm.core.errors import DdgmError
from ddgm.core.training.events import Event, Observer, Saved, Stepped, Validated
from ddgm.core.training.module import AveragedNetwork

LOOK_STEPS = 10  # updates between two looks at the loss: each waits for a GPU
SIGNALS = signal.SIGTERM, signal.SIGINT


class TrainingError(DdgmError):
    """A training that cannot go on."""


class TrainingCallback(Callback):
    """Checks the losses, tells observers, and keeps a checkpoint to resume from.

    A loss that is no number stops the training before a checkpoint could hold what follows
    from it. SIGTERM and SIGINT have it save and stop after the update that is under way.

    Args:
        checkpoint: the file; put in place whole, the one before stays until then.
        save_every: updates from one checkpoint to the next.
        observers: called with every event, in the first device's process alone.
        validate: makes an event of the module and the update's number; None for no validation.
        validate_every: updates from one validation to the next; the last update has one, too.
    """

    def __init__(
        self,
        checkpoint: Path,
        save_every: int,
        observers: Sequence[Observer] = (),
        validate: Callable[[AveragedNetwork, int], Validated] | None = None,
        validate_every: int = 1000,
    ) -> None:
        self.checkpoint, self.save_every = checkpoint, save_every
        self.observers, self.validate, self.validate_every = observers, validate, validate_every
        self.losses: list[Tensor] = []
        self.patches = 0
        self.waited = 0.0
        self.asked_to_stop = False

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        def note(number: int, frame: Any) -> None:
            self.asked_to_stop = True

        for number in SIGNALS:  # after Lightning has set its own, which lose the state
            signal.signal(number, note)
        self.since = self.ended = time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        self.waited += time.perf_counter() - self.ended

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(outputs["loss"].detach())
        self.patches += len(batch[0]) * trainer.world_size
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._after_update(trainer, pl_module)
        self.ended = time.perf_counter()

    def _after_update(self, trainer: Trainer, module: AveragedNetwork) -> None:
        step, last = trainer.global_step, trainer.global_step == trainer.max_steps
        stop = self.asked_to_stop
        if trainer.world_size > 1:  # all devices must leave the loop at the same update
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        save = stop or last or step % self.save_every == 0
        if save or step % LOOK_STEPS == 0:
            self._look(trainer, module)
        if save:
            self._save(trainer, module)
        if self.validate and (last or step % self.validate_every == 0) and not stop:
            if trainer.is_global_zero:
                self._tell(trainer, self.validate(module, step))
            trainer.strategy.barrier()
            self.since = time.perf_counter()
        trainer.should_stop = trainer.should_stop or stop

    def _look(self, trainer: Trainer, module: AveragedNetwork) -> None:
        # Lightning has divided each by the parts of a batch; and each device has its own
        losses = torch.stack(self.losses) * trainer.accumulate_grad_batches
        losses = trainer.strategy.reduce(losses, reduce_op="mean")
        if not bool(torch.isfinite(losses).all()):
            back = len(losses) - int(torch.nonzero(~torch.isfinite(losses))[0])
            step = trainer.global_step - (back - 1) // trainer.accumulate_grad_batches
            raise self._lost(f"the loss is {float(losses[-back])} at update {step}")
        seconds = time.perf_counter() - self.since
        rate = self.patches / seconds if seconds else 0.0
        lr = module.trainer.optimizers[0].param_groups[0]["lr"]
        waiting = min(self.waited / seconds, 1.0) if seconds else 0.0
        mean = float(losses.mean())
        self._tell(trainer, Stepped(trainer.global_step, mean, lr, rate, waiting))
        self.losses, self.patches, self.waited = [], 0, 0.0
        self.since = time.perf_counter()

    def _save(self, trainer: Trainer, module: AveragedNetwork) -> None:
        if not all(bool(torch.isfinite(p).all()) for p in module.network.parameters()):
            raise self._lost(f"weights are no numbers after update {trainer.global_step}")
        # not to the name itself: Lightning writes to the system's folder for temporary files
        # and moves from there, which is a copy where that is another disk
        partial = self.checkpoint.with_name(self.checkpoint.name + ".partial")
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            partial.replace(self.checkpoint)
        self._tell(trainer, Saved(trainer.global_step, self.checkpoint))

    def _lost(self, what: str) -> TrainingError:
        kept = (
            f"the last good checkpoint, {self.checkpoint}, is kept"
            if self.checkpoint.exists()
            else "no checkpoint had been saved yet"
        )
        return TrainingError(f"{what}; {kept}: train anew with a lower `lr` or a `clip` of 1")

    def _tell(self, trainer: Trainer, event: Event) -> None:
        if trainer.is_global_zero:
            for observe in self.observers:
                observe(event)


class LoaderSignals:
    """Signal handling of loader processes: they end with the loop, not by a signal sent to all.

    A batch system sends SIGTERM to every process of a job. Once the loop is over they heed it:
    an interpreter that exits ends its children so, and then waits for them.
    """

    def __init__(self) -> None:
        self.over = RawValue("b", 0)  # shared memory

    def __call__(self, worker: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, number: int, frame: Any) -> None:
        if self.over.value:
            os._exit(0)
