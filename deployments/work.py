"""One worker for each work pool, on this machine, until it is ended."""

import os
import signal
import socket
import subprocess
import sys
import time
from types import FrameType

from prefect.settings import PREFECT_API_URL

from deployments.deploy import CPU_POOL, GPU_POOL, provide_pools
from deployments.local_server import prefect_api
from mlip_train.errors import MlipTrainError

__all__ = ["main"]


def _start(pool: str, *options: str) -> subprocess.Popen[bytes]:
    worker = [sys.executable, "-m", "deployments.worker", pool, "--name", f"{pool}-{socket.gethostname()}"]
    # a session of its own: Ctrl-C reaches this process alone, which ends the workers one by one
    return subprocess.Popen([*worker, *options], stdin=subprocess.DEVNULL, start_new_session=True)


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run both workers; when one ends, so does the other."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        with prefect_api():
            provide_pools()
            os.environ["PREFECT_API_URL"] = str(PREFECT_API_URL.value())
            print(f"Starting a worker for {CPU_POOL} and one for {GPU_POOL}; Ctrl-C ends them", flush=True)
            pool = _work()
        sys.exit(
            f"Error: the worker of {pool} has ended; what it said above tells why. The other one was ended, too"
        )
    except KeyboardInterrupt:
        print("Workers ended")
    except MlipTrainError as error:
        sys.exit(f"Error: {error}")


def _work() -> str:
    """Run both workers until one ends by itself; return the pool of that one."""
    workers: dict[str, subprocess.Popen[bytes]] = {}
    try:
        workers[CPU_POOL] = _start(CPU_POOL)
        workers[GPU_POOL] = _start(GPU_POOL, "--limit", "1")
        while not (ended := [pool for pool, worker in workers.items() if worker.poll() is not None]):
            time.sleep(1)
        return ended[0]
    finally:
        for worker in workers.values():
            worker.terminate()
        for worker in workers.values():
            worker.wait()


if __name__ == "__main__":
    main()
