# The gateway with Claude Code and git, for agents that need nothing else; add your projects' tools in an image of your own.
#
#   docker build -t mas .
#   docker run --rm -p 127.0.0.1:3456:3456 -e MAS_SERVER__BIND=0.0.0.0:3456 -e ANTHROPIC_API_KEY -v mas-data:/data mas
#   docker run --rm -v mas-data:/data mas key create --user ann --name gpt --scopes read,operate
#
# Inside a container the default bind address, 127.0.0.1, is not reachable from outside: it has to be opened explicitly, as
# above. Keys are required all the same; the first admin key is in /data/admin-key. Agents end with the container.

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --locked --release

FROM node:22-bookworm-slim AS agents
WORKDIR /agents
COPY agents/package.json agents/package-lock.json agents/install.sh ./
RUN ./install.sh && cp --dereference claude /usr/local/bin/claude

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl git openssh-client ripgrep tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home mas \
    && install --directory --owner=mas --group=mas --mode=0700 /data
COPY --from=build /src/target/release/mas /usr/local/bin/mas
COPY --from=agents /usr/local/bin/claude /usr/local/bin/claude

USER mas
WORKDIR /home/mas
ENV MAS_SERVER__DATA_DIR=/data \
    MAS_SERVER__LOG_FORMAT=json \
    MAS_RUNNER__ON_SHUTDOWN=stop \
    MAS_CLAUDE_CODE__COMMAND=/usr/local/bin/claude
VOLUME /data
EXPOSE 3456
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s \
    CMD curl --silent --fail --noproxy '*' --output /dev/null http://127.0.0.1:3456/health
# tini collects the ended processes of agents whose parents are gone.
ENTRYPOINT ["tini", "--", "mas"]
CMD ["serve"]
