"""The Faults service (protos/faults.proto), and the devices that it works on."""

import hmac
import threading
from functools import partial

import grpc

from protos.faults_pb2 import (
    ANYWHERE,
    DESCRIPTOR,
    ArmReply,
    ArmRequest,
    ClearReply,
    ClearRequest,
    ListReply,
    ListRequest,
)
from protos.faults_pb2_grpc import FaultsServicer, add_FaultsServicer_to_server
from service_os.faults.act import act
from service_os.faults.device import FaultyDevice
from service_os.faults.plan import Plan
from service_os.session import MakeDevice


class Faults(FaultsServicer):
    """The faults of one incarnation."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._plan = Plan()

    @property
    def device(self) -> MakeDevice:
        """What makes devices that these faults lie in wait for."""
        return partial(FaultyDevice, self._plan)

    def add_to(self, server: grpc.Server) -> str:
        """The full name of the service, which is now the server's."""
        add_FaultsServicer_to_server(self, server)
        return DESCRIPTOR.services_by_name["Faults"].full_name

    def Arm(self, request: ArmRequest, context: grpc.ServicerContext) -> ArmReply:
        """See protos/faults.proto. What happens at once does so when the answer has left."""
        self._authenticate(request.token, context)
        fault = request.fault
        try:
            number = self._plan.arm(fault)
        except ValueError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if fault.point == ANYWHERE:
            thread = threading.Thread(target=act, args=(fault,), daemon=True)
            context.add_callback(thread.start)
        return ArmReply(id=number)

    def List(self, request: ListRequest, context: grpc.ServicerContext) -> ListReply:
        """See protos/faults.proto."""
        self._authenticate(request.token, context)
        return ListReply(faults=self._plan.list())

    def Clear(self, request: ClearRequest, context: grpc.ServicerContext) -> ClearReply:
        """See protos/faults.proto."""
        self._authenticate(request.token, context)
        return ClearReply(cleared=self._plan.clear())

    def _authenticate(self, token: str, context: grpc.ServicerContext) -> None:
        if not hmac.compare_digest(token.encode(), self._token):
            text = "the token is not that of this incarnation"
            context.abort(grpc.StatusCode.UNAUTHENTICATED, text)
