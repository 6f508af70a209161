from django.urls import path

from . import views

urlpatterns = [
    path("", views.home, name="home"),
    path("product/<int:pk>/", views.product, name="product"),
    path("order/<int:pk>/", views.order, name="order"),
    path("upload/", views.upload, name="upload"),
    path("stream", views.stream, name="stream"),
    path("slow", views.slow, name="slow"),
    path("pid", views.pid, name="pid"),
    path("healthz", views.healthz, name="healthz"),
]
