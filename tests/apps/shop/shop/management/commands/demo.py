"""Fills a new database for `scripts/run`."""
from decimal import Decimal

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand

from shop.models import Order, Product

PRODUCTS = [
    ("Hen's egg", "Laid this morning.", "0.45", 240),
    ("Quail's egg", "Small, speckled, gone in one bite.", "0.30", 480),
    ("Goose egg", "One makes an omelette for four.", "2.80", 36),
    ("Ostrich egg", "Bring a drill.", "29.90", 4),
    ("Egg cup", "Turned from a piece of ash.", "6.50", 60),
    ("Nest box", "Untreated larch, for blue tits.", "34.00", 12),
]


class Command(BaseCommand):
    help = "Adds sample products and the user admin (password: admin), each only if there is none yet."

    def handle(self, *args, **options):
        User = get_user_model()
        if not User.objects.exists():
            User.objects.create_superuser("admin", "admin@example.invalid", "admin")
            self.stdout.write("demo: user admin, password admin")
        if not Product.objects.exists():
            for name, description, price, in_stock in PRODUCTS:
                Product.objects.create(name=name, description=description, price=Decimal(price), in_stock=in_stock)
            Order.objects.create(product=Product.objects.get(name="Egg cup"), customer="Ada", quantity=2)
            Order.objects.create(product=Product.objects.get(name="Hen's egg"), customer="Grace", quantity=12)
            self.stdout.write("demo: {} products".format(len(PRODUCTS)))
