"""Work spread over processes that end when their parent does."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from ..errors import HmicError

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Job], Result], jobs: Iterable[Job], processes: int, what: str
) -> Iterator[Result]:
    """Yields the result of each job, in order.

    Args:
        work: A function of a module, so that another process can import it.
        jobs: What can be pickled.
        processes: Number of processes.
        what: The public function that needs them, for the error.

    Raises:
        HmicError: If a process ends before its work is done.
    """
    with pool(processes) as workers:
        try:
            yield from workers.map(work, jobs)
        except BrokenProcessPool as error:
            raise died(what) from error


@contextmanager
def pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Makes a pool of processes; on the way out, what has not begun is dropped."""
    # Not `fork`: TensorFlow's threads may be running in this process.
    workers = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_enter
    )
    try:
        yield workers
    finally:
        workers.shutdown(cancel_futures=True)


def died(what: str) -> HmicError:
    """Returns the error for a pool that broke under the public function `what`."""
    return HmicError(
        f"A process ended before its work was done. In a script, call {what} under "
        '`if __name__ == "__main__":`; otherwise memory may have run out: use fewer '
        "processes."
    )


def _enter() -> None:
    # A parent that is killed cannot stop its workers, which would go on writing files.
    parent: Any = multiprocessing.parent_process()

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    # Ctrl-C reaches every process; the parent ends the work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # One thread each: the processes share the cores, and the number of threads changes the
    # last bits of what TensorFlow computes.
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = "1"
    # The same for JAX: its thread pool, and the products of matrices.
    os.environ.setdefault("NPROC", "1")
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
