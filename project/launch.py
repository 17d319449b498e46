"""Run a program that ends when its parent ends: `python launch.py PARENT_PID PROGRAM ARGS…`.

This is a program, and not a `preexec_fn`, because Python code between fork and exec is unsafe in
a process that has threads. It imports almost nothing, since it runs before each service.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """Let Linux send SIGKILL to this process when its parent ends, for any reason.

    The setting survives `exec` but not `fork`; Celery itself makes it for its prefork children.
    Other systems have no such setting: there a parent that is killed leaves its children behind.
    """
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have ended before the call.
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - without a shell
