FROM full
ENTRYPOINT ["/bin/other"]
CMD ["own"]
