# The image of the service: its runtime packages, checked against their hashes, and nothing that builds or tests.
# PYTHON_IMAGE is any Debian with Python 3.11 or newer and its venv module.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
RUN python3 -m venv /opt/assent
COPY requirements-runtime.lock ./
RUN /opt/assent/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps \
    -r requirements-runtime.lock
COPY domain domain
COPY projections projections
COPY services services
RUN cp -R domain projections services "$(/opt/assent/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
    && /opt/assent/bin/python -m pip uninstall --yes --quiet pip \
    && /opt/assent/bin/python -m compileall -q /opt/assent/lib

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 assent \
    && useradd --uid 10001 --gid assent --no-create-home --home-dir /var/lib/assent --shell /usr/sbin/nologin assent \
    && install --directory --owner=assent --group=assent --mode=0700 /var/lib/assent
COPY --from=build /opt/assent /opt/assent
USER 10001:10001
WORKDIR /var/lib/assent
ENV ASSENT_DATA=/var/lib/assent \
    ASSENT_HOST=0.0.0.0 \
    ASSENT_PORT=8000 \
    ASSENT_MODE=production \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
VOLUME /var/lib/assent
EXPOSE 8000
STOPSIGNAL SIGINT
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["/opt/assent/bin/python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"ASSENT_PORT\"]}/healthz', timeout=2)"]
ENTRYPOINT ["/opt/assent/bin/python", "-P", "-m", "services.cli"]
CMD ["serve"]
