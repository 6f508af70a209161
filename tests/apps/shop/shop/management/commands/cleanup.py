"""What cron runs: forgets old uploads and expired sessions."""
from datetime import timedelta

from django.contrib.sessions.models import Session
from django.core.management.base import BaseCommand
from django.utils import timezone

from shop.models import Upload


class Command(BaseCommand):
    help = "Deletes uploads older than --days and sessions that have expired."

    def add_arguments(self, parser):
        parser.add_argument("--days", type=int, default=7)

    def handle(self, *args, **options):
        now = timezone.now()
        old = list(Upload.objects.filter(received__lt=now - timedelta(days=options["days"])))
        for upload in old:
            upload.file.delete(save=False)
            upload.delete()
        sessions, _ = Session.objects.filter(expire_date__lt=now).delete()
        self.stdout.write("cleanup: {} uploads, {} sessions removed".format(len(old), sessions))
