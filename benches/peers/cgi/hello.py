"""The same in Python, without what a site adds to its path."""
import os

print("Content-Type: text/plain\r\n\r\nhello " + os.environ["REQUEST_METHOD"], end="\n")
