from django.contrib import admin

from .models import Order, Product, Upload


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ["name", "price", "in_stock"]
    search_fields = ["name"]


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ["pk", "product", "quantity", "customer", "placed"]
    list_filter = ["product"]
    date_hierarchy = "placed"


@admin.register(Upload)
class UploadAdmin(admin.ModelAdmin):
    list_display = ["file", "size", "sha256", "received"]
    readonly_fields = ["size", "sha256", "received"]

    def has_add_permission(self, request):
        return False
