"""cloud-volume, made safe to use in this process: bounded waiting, no lost errors, no chatter.

It takes seconds to import, so it is imported inside functions. What is replaced here is not the
library's public API: where a later version moves it, tests/pipeline/volumes/
test_cloudvolume_fixes.py fails.
"""

from functools import cache
from typing import Any


@cache
def cloud_volume() -> Any:
    """The CloudVolume class, once the library has been made safe to use in this process."""
    import cloudfiles.secrets
    import cloudfiles.threaded_queue
    import cloudvolume.datasource.precomputed
    import cloudvolume.datasource.precomputed.image.rx
    import cloudvolume.threaded_queue

    bound_http()
    # It prints what it also raises, and hints; redirecting stdout would not be safe in threads.
    precomputed = cloudvolume.datasource.precomputed
    for module in (precomputed, precomputed.image.rx, cloudfiles.secrets):
        vars(module)["print"] = lambda *args, **kwargs: None
    for library in (cloudvolume, cloudfiles):
        queue: Any = library.threaded_queue.ThreadedQueue
        queue._consume_queue_execution = _run_task
    return cloudvolume.CloudVolume


def _run_task(queue: Any, task: Any) -> None:
    """Delivers a task's error before it counts as done.

    The library does so after: its reader may be gone by then, with zeros for an answer (measured).
    """
    try:
        task()
    except Exception as error:
        queue._error_queue.put(error)
    finally:
        with queue._processed_lock:
            queue.processed += 1
            queue._queue.task_done()


def bound_http(
    connect: float = 5.0, read: float = 30.0, attempts: int = 4, backoff: float = 0.5
) -> None:
    """Gives cloud-volume's requests an end: its own have no timeout, and 7 attempts (measured).

    connect, read: seconds to wait for a connection and between two bytes.
    attempts, backoff: tries of one request, with random waits of backoff · 2ⁿ s, 4 s at most.
    """
    import tenacity
    from cloudfiles import connectionpools, interfaces
    from requests import PreparedRequest, Response
    from requests.adapters import HTTPAdapter

    class BoundedAdapter(HTTPAdapter):
        refused: str | None = None  # the last URL that was answered with 403

        def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
            response = super().send(request, *args, **{**options, "timeout": (connect, read)})
            if response.status_code == 403:
                self.refused = request.url
            return response

    http = interfaces.HttpInterface
    http.adaptor = BoundedAdapter(pool_maxsize=32)  # the library reads with 20 threads
    google, s3 = interfaces.GoogleCloudStorageInterface, interfaces.S3Interface
    pools = connectionpools.GCloudBucketPool, connectionpools.S3ConnectionPool
    for method in (m for owner in (http, google, s3, *pools) for m in vars(owner).values()):
        if retry := getattr(method, "retry", None):
            retry.stop = tenacity.stop_after_attempt(attempts)
            retry.wait = tenacity.wait_random_exponential(multiplier=backoff, max=4.0)
