FROM full
ENTRYPOINT []
CMD ["later"]
