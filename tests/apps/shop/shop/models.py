from django.db import models
from django.urls import reverse


class Product(models.Model):
    name = models.CharField(max_length=100, unique=True)
    description = models.TextField(blank=True)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    in_stock = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["name"]

    def __str__(self):
        return self.name

    def get_absolute_url(self):
        return reverse("product", args=[self.pk])


class Order(models.Model):
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="orders")
    customer = models.CharField("your name", max_length=100)
    quantity = models.PositiveIntegerField(default=1)
    placed = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-placed", "-pk"]

    def __str__(self):
        return "{} × {} for {}".format(self.quantity, self.product, self.customer)

    @property
    def total(self):
        return self.quantity * self.product.price


class Upload(models.Model):
    file = models.FileField(upload_to="uploads")
    size = models.PositiveBigIntegerField(editable=False)
    sha256 = models.CharField("SHA-256", max_length=64, editable=False)
    received = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-received", "-pk"]

    def __str__(self):
        return self.file.name
