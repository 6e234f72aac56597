# docker build -t interleave-rt .        (--build-arg EXTRAS=cpu,openai for more; what is compiled stays in the first stage)
# docker run --rm --read-only --tmpfs /tmp -v "$PWD/out:/out" --user "$(id -u)" interleave-rt run "Draw a snowman" --out /out/snowman
FROM python:3.12-bookworm AS build
ARG EXTRAS=cpu
COPY . /source
RUN pip wheel --no-cache-dir -w /wheelhouse "/source[$EXTRAS]"

FROM python:3.12-slim-bookworm
ARG EXTRAS=cpu
RUN --mount=type=bind,from=build,source=/wheelhouse,target=/wheelhouse \
    pip install --no-cache-dir --no-index --find-links /wheelhouse "interleave-rt[$EXTRAS]"
# Nobody in particular; everything that is written goes to /tmp and to what was mounted.
USER 65534:65534
ENV HOME=/tmp
WORKDIR /tmp
ENTRYPOINT ["interleave-rt"]
CMD ["doctor"]
