"""A process that has imported what all programs import, and forks into any of them.

    python -m deploy.local.forking.template CHANNEL PARENT_PID PADDING

The runner sends requests over the socket CHANNEL, one in each message (`messages.py`), with the
files that the program gets. For each request the process forks. The child becomes the program, as
`python -m MODULE ARGUMENTS` would, in a session of its own. The answer has its pid, with a file
(pidfd) that names it for as long as that file is open. A message with its exit status follows when
it has ended.

A process that is restarted runs the code as it is then. So when the code of the mesh was changed
since it was imported here, the child starts Python anew (`preloading.py`).

The process has one thread and opens nothing else, so a fork copies nothing half done. It ends with
the runner, and its children end with it: the kernel kills them (parent_death.py).
"""

import ctypes
import gc
import os
import runpy
import selectors
import signal
import socket
import sys
import time
from pathlib import Path

from deploy.local.forking import messages
from deploy.local.forking.messages import Ended, Request, Started
from deploy.local.forking.preloading import Preloaded
from deploy.local.supervision.parent_death import die_with_parent
from deploy.local.supervision.sockets import LISTEN_FD


def main() -> None:
    """Serves requests. In a child, it runs the program and exits with its status."""
    channel_number, parent_pid = int(sys.argv[1]), int(sys.argv[2])
    die_with_parent(parent_pid, signal.SIGKILL)
    _show_as([Path(sys.executable).name, "-m", "deploy.local.forking.template"])
    preloaded = Preloaded(Path.cwd())
    # Objects that no collection visits keep their pages shared with the children.
    gc.collect()
    gc.freeze()
    request = _Template(socket.socket(fileno=channel_number)).serve()
    if not preloaded.is_current():
        command = [sys.executable, "-m", request.module, *request.arguments]
        os.execv(sys.executable, command)
    sys.argv = [request.module, *request.arguments]
    runpy.run_module(request.module, run_name="__main__", alter_sys=True)


class _Template:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        # A selector without a file of its own: a child has nothing to close.
        self._selector = selectors.PollSelector()
        self._selector.register(channel, selectors.EVENT_READ)
        self._pids: dict[int, int] = {}
        """By pidfd."""

    def serve(self) -> Request:
        """Returns in a child, with what to run there. Exits when the runner has gone."""
        while True:
            for key, _ in self._selector.select():
                if key.fd != self._channel.fileno():
                    self._report(key.fd)
                    continue
                request, files = messages.receive(self._channel)
                if request is None:
                    sys.exit()
                assert isinstance(request, Request), "the runner sends nothing else"
                if self._fork(request, files):
                    return request

    def _fork(self, request: Request, files: list[int]) -> bool:
        """Whether this is the child."""
        own_pid, pid = os.getpid(), None
        if time.monotonic() < request.expires_at:
            pid = os.fork()
        if pid == 0:
            self._channel.close()
            for pidfd in self._pids:
                os.close(pidfd)
            _become(request, files, own_pid)
            return True
        for file in files:
            os.close(file)
        if pid is not None:
            self._follow(request.number, pid)
        return False

    def _follow(self, number: int, pid: int) -> None:
        pidfd = os.pidfd_open(pid)
        self._pids[pidfd] = pid
        self._selector.register(pidfd, selectors.EVENT_READ)
        messages.send(self._channel, Started(number, pid), [pidfd])

    def _report(self, pidfd: int) -> None:
        pid = self._pids.pop(pidfd)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        messages.send(self._channel, Ended(pid, os.waitstatus_to_exitcode(status)))


def _become(request: Request, files: list[int], parent_pid: int) -> None:
    """Makes this child the process that the request describes."""
    os.setsid()
    die_with_parent(parent_pid, signal.SIGKILL)
    log, *listeners = files
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.chdir(request.folder)
    sys.path[0] = request.folder
    os.environ.clear()
    os.environ.update(request.environment)
    if listeners:
        os.environ[LISTEN_FD] = str(listeners[0])
        os.set_inheritable(listeners[0], True)
    _show_as([Path(sys.executable).name, "-m", request.module, *request.arguments])


def _show_as(command: list[str]) -> None:
    """Replaces the command line that ps shows. PADDING has made room for it."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[46])
    text = "\0".join(command).encode()[: end - begin - 1]
    ctypes.memmove(begin, text.ljust(end - begin, b"\0"), end - begin)


if __name__ == "__main__":
    main()
