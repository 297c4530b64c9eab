"""Peer (e): what Python and HTTP cost alone."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def nothing(_: Request) -> Response:
    """Answer, and do nothing."""
    return Response(b'{"status":"success"}', media_type="application/json")


app = Starlette(routes=[Route("/", nothing), Route("/analytics/live/session/heartbeat", nothing, methods=["POST"])])
