# The image of every node of a Ray cluster, for KubeRay: docker build --file deploy/ray.Dockerfile --tag headcount:0.1.0 .
FROM rayproject/ray:2.60.0-py311
COPY --chown=ray:users . /home/ray/headcount
RUN python -m pip install --no-cache-dir --require-hashes --requirement /home/ray/headcount/requirements.lock \
    && python -m pip install --no-cache-dir --no-deps --no-build-isolation /home/ray/headcount \
    && python -m serve_app.node /home/ray/headcount-node
