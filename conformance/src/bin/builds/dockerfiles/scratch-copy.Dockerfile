FROM scratch
COPY a.txt /
ENTRYPOINT ["/a.txt"]
