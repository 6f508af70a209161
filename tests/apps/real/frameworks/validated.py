"""Another site of this directory behind the standard library's validator, which complains about either side."""
import os
from importlib import import_module
from wsgiref.validate import validator

application = validator(import_module(os.environ["SITE"]).application)
