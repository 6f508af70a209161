ABOUT = ""
PROGRAMS = []
PARTS = []


def run(bench):
    return [], []
