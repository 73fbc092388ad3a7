# The gateway with Claude Code, claude-flow, git and localtunnel, for agents that need nothing else; add your projects' tools in an image of your own.
#
#   docker build -t mas .
#   docker run --rm --stop-timeout 60 -p 127.0.0.1:3456:3456 -e MAS_SERVER__BIND=0.0.0.0:3456 -e ANTHROPIC_API_KEY -v mas-data:/data mas
#   docker run --rm -v mas-data:/data mas key create --user ann --name gpt --scopes read,operate
#
# deploy/compose.yaml does the first two. Inside a container the default bind address, 127.0.0.1, is not reachable from
# outside: it has to be opened explicitly, as above. Keys are required all the same; the first admin key is in
# /data/admin-key. Agents end with the container, and their tasks go on with the next one; a turn that was interrupted is
# repeated. With -e MAS_TUNNEL__CLIENT=localtunnel no port has to be open at all.
#
# --build-arg UID=$(id -u) makes the container's user the owner of your projects, where they are mounted. It needs a new
# volume: one made with another UID keeps its owner.

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# Dependencies first, with nothing of ours: this layer lasts until Cargo.toml or Cargo.lock change.
COPY Cargo.toml Cargo.lock build.rs ./
# Cargo wants to see the targets of tests and benches; they are not built here.
RUN mkdir -p src migrations tests/it benches \
    && echo 'fn main() {}' | tee src/main.rs tests/it/main.rs benches/gateway.rs >/dev/null \
    && touch src/lib.rs \
    && cargo build --locked --release --bin mas
COPY gpt-instructions.md ./
COPY migrations migrations
COPY roles roles
COPY workflows workflows
COPY src src
# COPY keeps times of change; without the touch the empty files above would pass for the newer ones.
RUN touch build.rs src/lib.rs src/main.rs && cargo build --locked --release --bin mas

FROM node:22-bookworm-slim AS agents
WORKDIR /agents
COPY agents/package.json agents/package-lock.json agents/install.sh ./
RUN ./install.sh claude && cp --dereference claude /usr/local/bin/claude
COPY agents/claude-flow/package.json agents/claude-flow/package-lock.json claude-flow/
RUN ./install.sh claude-flow
WORKDIR /opt/localtunnel
COPY deploy/localtunnel/package.json deploy/localtunnel/package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund

FROM debian:bookworm-slim
ARG UID=10001
# postgresql-client: `mas backup` and `mas restore` of a PostgreSQL up to version 15. procps: agents look at what they started.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl git openssh-client postgresql-client procps ripgrep tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid "$UID" --create-home mas \
    && install --directory --owner=mas --group=mas --mode=0700 /data \
    && ln -s /opt/localtunnel/node_modules/.bin/lt /usr/local/bin/lt \
    && ln -s /opt/claude-flow/node_modules/.bin/claude-flow /usr/local/bin/claude-flow
COPY --from=agents /usr/local/bin/node /usr/local/bin/node
COPY --from=agents /opt/localtunnel /opt/localtunnel
COPY --from=agents /agents/claude-flow /opt/claude-flow
COPY --from=agents /usr/local/bin/claude /usr/local/bin/claude
COPY --from=build /src/target/release/mas /usr/local/bin/mas

USER mas
WORKDIR /home/mas
# LANG: texts of agents are UTF-8.
ENV LANG=C.UTF-8 \
    MAS_SERVER__DATA_DIR=/data \
    MAS_SERVER__LOG_FORMAT=json \
    MAS_CLAUDE_CODE__COMMAND=/usr/local/bin/claude \
    MAS_CLAUDE_FLOW__COMMAND=/usr/local/bin/claude-flow
VOLUME /data
EXPOSE 3456
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=15s --retries=3 \
    CMD curl --silent --fail --noproxy '*' --output /dev/null http://127.0.0.1:3456/health
# tini collects the ended processes of agents whose parents are gone.
ENTRYPOINT ["tini", "--", "mas"]
CMD ["serve"]
