# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build

# The dependencies are a separate layer, rebuilt only when the manifest changes. Benches and tests are not built
# here, so their sections are removed from the manifest: their files are not in the image's context.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
RUN sed -i -E '/^\[\[(bench|test|example)\]\]/,/^$/d' Cargo.toml \
    && mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs \
    && cargo build --profile dist --locked \
    && rm -r src

# The copied files may be older than the empty files that were just built, so they are marked as new.
COPY migrations migrations
COPY config/default.toml config/default.toml
COPY src src
RUN touch src/lib.rs src/main.rs && cargo build --profile dist --locked

# The licenses of everything that is linked into the binary: crates.txt lists all, with the texts that the crates contain.
COPY LICENSE-MIT LICENSE-APACHE licenses/
RUN cargo tree --locked --edges normal --prefix none --format '{p}|{l}' \
        | sed -e 's/ (\*)$//' -e 's/ (proc-macro)//' -e 's/ v/ /' | grep -v '^retell-webhook ' | sort -u > licenses/crates.txt \
    && cut -d '|' -f 1 licenses/crates.txt | while read -r name version; do \
        find "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$name-$version" -maxdepth 1 -type f \
            \( -name 'LICEN*' -o -name 'COPYING*' -o -name 'NOTICE*' \) \
            -exec install -D -m 644 -t "licenses/$name-$version" {} + ; \
    done

FROM debian:bookworm-slim

# The certificates are for outbound requests, including those of the health check.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 retell \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /app --shell /usr/sbin/nologin retell \
    && install -d -o 10001 -g 10001 -m 0700 /app/data

COPY --from=build /build/target/dist/retell-webhook /usr/local/bin/
COPY --from=build /build/licenses /usr/local/share/licenses/retell-webhook
COPY config/default.toml /app/config/default.toml

LABEL org.opencontainers.image.title="retell-webhook"
LABEL org.opencontainers.image.description="Receives every webhook event Retell AI sends: verified, typed, on disk before it is acknowledged"
LABEL org.opencontainers.image.version="0.1.0"
LABEL org.opencontainers.image.licenses="MIT OR Apache-2.0"

WORKDIR /app
USER 10001:10001

# Standard output is the log here: the root is read-only, and the engine keeps and rotates what is printed.
ENV RETELL_WEBHOOK__LOG__DIR=off

# The only folder that is written to: `docker run --read-only -v retell-webhook:/app/data …` works.
VOLUME /app/data
EXPOSE 8000
# A stop may take 25 s, more than the 10 s of `docker stop`: run the image with `--stop-timeout 30`, as compose.yaml does.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["retell-webhook", "health"]
ENTRYPOINT ["retell-webhook"]
