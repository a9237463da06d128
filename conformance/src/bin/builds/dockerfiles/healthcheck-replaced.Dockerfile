FROM healthy
HEALTHCHECK --retries=1 CMD other
