"""Work on a GPU recorded once as a CUDA graph and replayed, so that Python launches no kernels."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ddgm.core import process_work

Work = TypeVar("Work", bound=Callable[[Tensor], Tensor])

Kind = tuple[torch.Size, torch.dtype, torch.device]

SHAPES = 4  # recordings kept: each holds the memory that its work needs


class CudaGraphed(Generic[Work]):
    """`work` as a CUDA graph for each of a few input shapes; other shapes run without one.

    Args:
        work: (B, …) tensor on a GPU → another, always by the same kernels for the same shape.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self._recorded: dict[Kind, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}
        self._lock = threading.Lock()  # input and output of a recording are one place each

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        """Run `work` on x and return its result in new memory; safe to call from any thread."""
        kind = x.shape, x.dtype, x.device
        with self._lock, torch.cuda.device(x.device):
            if kind not in self._recorded:
                if len(self._recorded) == SHAPES:
                    return self.work(x)
                with process_work.work("compiling the network for this GPU, once"):
                    self._recorded[kind] = self._record(x)
            graph, given, made = self._recorded[kind]
            given.copy_(x)
            graph.replay()
            return made.clone()

    def _record(self, x: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        given = x.clone(memory_format=torch.contiguous_format)
        beside, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):  # compiles, and lets libraries take their memory
            self.work(given)
        torch.cuda.current_stream().wait_stream(beside)
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # others may draw noise
            made = self.work(given)
        return graph, given, made
