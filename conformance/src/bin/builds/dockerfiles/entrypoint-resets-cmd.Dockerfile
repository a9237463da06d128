FROM full
ENTRYPOINT ["/bin/other"]
