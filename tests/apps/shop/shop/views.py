import hashlib
import os
import time

from django.db import connection, transaction
from django.db.models import F
from django.http import HttpResponse, HttpResponseBadRequest, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_safe

from .forms import OrderForm, UploadForm
from .models import Order, Product, Upload

# What /stream sends again and again: 64 KiB in which a lost or doubled byte shows.
PATTERN = bytes(range(256)) * 256
LONGEST_STREAM = 1 << 30


@require_safe
def home(request):
    return render(
        request,
        "shop/home.html",
        {"products": Product.objects.all(), "orders": Order.objects.select_related("product")[:5]},
    )


@require_http_methods(["GET", "HEAD", "POST"])
def product(request, pk):
    """One product, and the form to order it."""
    shown = get_object_or_404(Product, pk=pk)
    form = OrderForm(request.POST or None, instance=Order(product=shown))
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            # Decided by the database: two buyers of the last piece may be served by two processes.
            taken = Product.objects.filter(pk=pk, in_stock__gte=form.instance.quantity).update(
                in_stock=F("in_stock") - form.instance.quantity
            )
            if taken:
                return redirect("order", pk=form.save().pk)
        form.add_error("quantity", "Somebody was faster.")
    return render(request, "shop/product.html", {"product": shown, "form": form})


@require_GET
def order(request, pk):
    return render(request, "shop/order.html", {"order": get_object_or_404(Order, pk=pk)})


@require_http_methods(["GET", "HEAD", "POST"])
def upload(request):
    """Stores a file and tells its SHA-256; as JSON for who asks so."""
    form = UploadForm(request.POST or None, request.FILES or None)
    stored = None
    if request.method == "POST" and form.is_valid():
        received = form.cleaned_data["file"]
        digest = hashlib.sha256()
        for chunk in received.chunks():
            digest.update(chunk)
        stored = Upload.objects.create(file=received, size=received.size, sha256=digest.hexdigest())
        if "application/json" in request.headers.get("Accept", ""):
            return JsonResponse({"url": stored.file.url, "size": stored.size, "sha256": stored.sha256}, status=201)
    return render(
        request,
        "shop/upload.html",
        {"form": form, "stored": stored, "uploads": Upload.objects.all()[:10]},
        status=201 if stored else (400 if request.method == "POST" else 200),
    )


def repeated(size):
    for _ in range(size // len(PATTERN)):
        yield PATTERN
    if size % len(PATTERN):
        yield PATTERN[: size % len(PATTERN)]


@require_GET
def stream(request):
    """`?size=` bytes from a generator; the length is not announced."""
    try:
        size = int(request.GET.get("size", 50 << 20))
    except ValueError:
        return HttpResponseBadRequest("size: a number of bytes\n", content_type="text/plain")
    if not 0 <= size <= LONGEST_STREAM:
        return HttpResponseBadRequest("size: at most 1 GiB\n", content_type="text/plain")
    return StreamingHttpResponse(repeated(size), content_type="application/octet-stream")


@require_GET
def slow(request):
    """Takes `?seconds=` to answer, as a page with a bad query would."""
    try:
        seconds = float(request.GET.get("seconds", 2))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 60:
        return HttpResponseBadRequest("seconds: 0 to 60\n", content_type="text/plain")
    time.sleep(seconds)
    return HttpResponse("That took {:g} s.\n".format(seconds), content_type="text/plain")


@require_GET
def pid(request):
    """Which process answers."""
    return HttpResponse("{}\n".format(os.getpid()), content_type="text/plain")


@require_GET
def healthz(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse("ok\n", content_type="text/plain")
