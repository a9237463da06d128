FROM full
CMD ["own"]
ENTRYPOINT ["/bin/other"]
