"""Start a program that ends when its parent does: `python launch.py PARENT_PID PROGRAM ARGS…`.

A small program of its own, and not a `preexec_fn`, because Python code between fork and
exec is unsafe in a process that has threads. It imports next to nothing: it is run before
each service.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """Ask Linux for a SIGKILL at the moment the parent process is gone, however it went.

    The wish outlives `exec` and not `fork` (Celery makes it for its prefork children by
    itself). Elsewhere than on Linux there is no such thing,
    and an orderly end of the parent has to do.
    """
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have died before the wish was made.
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is meant
