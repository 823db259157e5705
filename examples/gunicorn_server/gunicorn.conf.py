"""gunicorn reads this by itself. Each worker confines itself when the application is loaded."""

workers = 2


def post_worker_init(worker):
    """Install the filter: all is loaded, no request has come in, and users have been switched.

    An error here is one before the worker has booted: gunicorn stops as a whole, and exits with 3.
    """
    from sandbox import web  # noqa: PLC0415 - found only once gunicorn has set the path

    web.install()
    worker.log.info("confined")
