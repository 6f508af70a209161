"""Datasette, which shows a database that it is given."""
import os

from datasette.app import Datasette

application = Datasette([os.environ["DATABASE"]]).app()
