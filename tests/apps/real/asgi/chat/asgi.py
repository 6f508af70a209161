import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chat.settings")
django = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.urls import path  # noqa: E402


class Room(AsyncJsonWebsocketConsumer):
    async def connect(self):
        self.room = self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()
        await self.send_json({"visits": self.scope["session"].get("visits", 0)})

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.room, self.channel_name)
        await self.channel_layer.group_send(self.room, {"type": "said", "text": "one has left with %d" % code})

    async def receive_json(self, content):
        await self.channel_layer.group_send(self.room, {"type": "said", "text": content["text"]})

    async def said(self, event):
        await self.send_json({"text": event["text"]})


rooms = URLRouter([path("rooms/<str:room>", Room.as_asgi())])
websocket = AllowedHostsOriginValidator(AuthMiddlewareStack(rooms))
application = ProtocolTypeRouter({"http": django, "websocket": websocket})
