"""prepare.py DIRECTORY: `wagtail start`, a page with a photo, a database with the user admin/admin, static files, and an image
to upload (`hen.png`, 640 by 480). In one process: each import of Wagtail takes a second."""
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
LOCAL = """
SECRET_KEY = "for tests only"
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
DATABASES["default"]["OPTIONS"] = {"timeout": 60}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
"""


def main(directory):
    os.chdir(directory)
    program = pathlib.Path(sys.executable).with_name("wagtail")
    subprocess.run([program, "start", "site_of_test", "."], check=True, stdout=subprocess.DEVNULL)
    shutil.copy(HERE / "models.py", "home/models.py")
    shutil.copy(HERE / "home_page.html", "home/templates/home/home_page.html")
    production = pathlib.Path("site_of_test/settings/production.py")
    production.write_text(production.read_text() + LOCAL)
    os.mkdir("media")

    os.environ["DJANGO_SETTINGS_MODULE"] = "site_of_test.settings.production"
    os.environ["DJANGO_SUPERUSER_PASSWORD"] = "admin"
    sys.path.insert(0, directory)
    import django
    from django.core.management import call_command
    from PIL import Image

    django.setup()
    call_command("makemigrations", "home", verbosity=0)
    call_command("migrate", verbosity=0)
    call_command("createsuperuser", interactive=False, username="admin", email="admin@shop.example", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    Image.effect_noise((640, 480), 64).save("hen.png")


main(sys.argv[1])
