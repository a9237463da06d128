FROM tiny AS first
RUN mkdir -p /out/sub && echo x >/out/x && echo y >/out/sub/y && chmod 640 /out/x && chown 5:6 /out/sub/y
FROM tiny AS second
COPY --from=first /out /all
COPY --from=0 /out/x /one
FROM second
COPY --from=first /out/sub /again/
COPY --from=keeper /data/seed /seed
