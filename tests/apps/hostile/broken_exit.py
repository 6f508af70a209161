import sys

sys.exit("settings are missing")
