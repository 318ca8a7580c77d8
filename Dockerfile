# syntax=docker/dockerfile:1
#
#   docker build -t scopegate .
#   docker run --read-only -v "$PWD/config:/etc/scopegate:ro" -p 8080:8080 scopegate
#
# The configuration is /etc/scopegate/scopegate.yaml; its listeners must be on 0.0.0.0 to be reached from outside of
# the container, while `admin` may stay on loopback: the health check below asks from inside.

FROM rust:1.95.0-bookworm AS build
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin scopegate \
    && cp target/release/scopegate /scopegate

# libc, libgcc and CA certificates; no shell, no package manager. Same Debian release as above, so the same libc.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /scopegate /scopegate
ENV SCOPEGATE_CONFIG=/etc/scopegate/scopegate.yaml
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/scopegate", "health"]
ENTRYPOINT ["/scopegate"]
CMD ["run"]
