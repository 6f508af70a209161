from django.contrib import admin
from django.urls import include, path

admin.site.site_header = "Henhouse shop"
admin.site.site_title = "Henhouse shop"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("shop.urls")),
]
