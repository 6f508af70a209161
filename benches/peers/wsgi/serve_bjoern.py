"""bjoern has no command of its own: this is the one of its README."""
import importlib
import os
import sys

import bjoern

port, module = sys.argv[1:]
sys.path.insert(0, os.getcwd())
bjoern.run(importlib.import_module(module).application, "127.0.0.1", int(port))
