"""What plain gunicorn reads when it is started here, `gunicorn wsgi:app`: what `movieapp serve` runs with."""

from cli.gunicorn_conf import *  # noqa: F403
