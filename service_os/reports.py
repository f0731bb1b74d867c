"""The DeviceReports service (protos/io.proto): what drivers do of their own accord."""

import grpc

from drivers.raised import one_line
from protos.io_pb2 import ProgressReply, ProgressRequest
from protos.io_pb2_grpc import DeviceReportsServicer
from service_os.device import Problem
from service_os.session import Sessions


class Reports(DeviceReportsServicer):
    """Of the devices that one incarnation serves."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def Progress(self, request: ProgressRequest, context: grpc.ServicerContext) -> ProgressReply:
        """See protos/io.proto."""
        try:
            self._sessions.check_token(request.token)
        except Problem as problem:
            context.abort(problem.status, str(problem))
        device = self._sessions.serving(request.guest, request.device)
        progress = device.progress() if device else None
        if progress is None:
            text = f"{request.guest}/{request.device} has nothing to report"
            context.abort(grpc.StatusCode.NOT_FOUND, text)
        reply = ProgressReply(done=progress.done, total=progress.total)
        reply.complete, reply.problem = progress.complete, one_line(progress.problem)
        return reply
