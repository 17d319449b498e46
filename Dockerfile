# One image for the web server and the worker. Build: docker build -t django-celery-realtime .
FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app

# Layers that seldom change come first. The lock has the hash of every file.
COPY requirements/runtime.lock requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/runtime.lock

COPY manage.py ./
COPY realtime realtime
COPY project project
COPY tasks tasks
COPY samples samples
COPY static static

# All data is in /data, and no process runs as root.
RUN useradd --system --uid 1000 --home-dir /data app && install -d -o app -g app /data
USER app
ENV DATA_DIR=/data HOST=0.0.0.0 PORT=8000
VOLUME /data
EXPOSE 8000

CMD ["python", "-m", "project.web"]
