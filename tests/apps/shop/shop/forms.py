from django import forms

from .models import Order


class OrderForm(forms.ModelForm):
    class Meta:
        model = Order
        fields = ["customer", "quantity"]

    def clean_quantity(self):
        quantity = self.cleaned_data["quantity"]
        if quantity < 1:
            raise forms.ValidationError("Order at least one.")
        if quantity > self.instance.product.in_stock:
            raise forms.ValidationError("There are only {} left.".format(self.instance.product.in_stock))
        return quantity


class UploadForm(forms.Form):
    file = forms.FileField()
